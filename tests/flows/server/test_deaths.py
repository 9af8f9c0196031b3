"""What happens to the server and its runs when one of its processes dies, and when it is stopped."""

import sqlite3
import subprocess
import sys
import time

import psutil
import pytest

from tests.flows.conftest import lives, until
from tests.flows.server.running_server import RunningServer

pytestmark = pytest.mark.long


def test_a_killed_api_server_is_restarted_and_the_run_continues(server: RunningServer) -> None:
    run = server.start("retrain", seconds=4, then=15)
    engine, api_server = server.engine(run), server.supervised("server")
    api_server.kill()
    until(lambda: server.supervised("server") != api_server, seconds=30)
    until(lambda: answers(server), seconds=60)
    assert server.wait(run, "COMPLETED", "CRASHED", "FAILED")["type"] == "COMPLETED"
    until(lambda: not lives(engine.pid), seconds=20)
    assert [task["state"]["type"] for task in server.tasks(run)] == 2 * ["COMPLETED"], "states are sent later"


def answers(server: RunningServer) -> bool:
    try:
        return bool(server.fetch("/api/health")[0] == 200)
    except OSError:
        return False


def test_a_killed_worker_ends_its_runs_and_is_restarted(server: RunningServer) -> None:
    run = server.start("retrain", seconds=60)
    engine, worker = server.engine(run), server.supervised("worker")
    worker.kill()
    until(lambda: not lives(engine.pid), seconds=15)
    assert server.wait(run, "CRASHED")
    until(lambda: server.supervised("worker") != worker, seconds=30)
    assert server.wait(server.start("retrain"), "COMPLETED"), "the place in the queue is free again"


def test_a_run_whose_worker_and_process_were_killed_is_closed(server: RunningServer) -> None:
    run, other = server.start("retrain", seconds=60), server.start("rollback", seconds=60)
    engines = [server.engine(run), server.engine(other)]
    running = server.run("status").stdout
    assert all(f"{server.api(f'/flow_runs/{one}')['name']} Running" in running for one in (run, other))
    dying = [psutil.Process(server.pids()["worker"]), server.supervised("worker"), *engines]
    for process in dying:
        process.suspend()  # else the worker may see the cancellation, and the run's process report Crashed
    server.api(f"/flow_runs/{other}/set_state", {"state": {"type": "CANCELLING"}, "force": True})
    for process in dying:
        process.kill()
    crashed, cancelled = server.wait(run, "CRASHED"), server.wait(other, "CANCELLED")
    assert crashed["message"].startswith("its process is gone") and cancelled["message"]
    assert {task["state"]["type"] for task in server.tasks(run)} == {"CRASHED"}
    assert {task["state"]["type"] for task in server.tasks(other)} == {"CANCELLED"}


def test_a_cancelled_run_ends_although_its_worker_does_not_stop_it(server: RunningServer) -> None:
    """After a minute without a server, Prefect's worker no longer listens; here it is suspended."""
    run, other = server.start("retrain", seconds=60), server.start("rollback", seconds=60)
    engine, bystander, worker = server.engine(run), server.engine(other), server.supervised("worker")
    worker.suspend()
    try:
        server.api(f"/flow_runs/{run}/set_state", {"state": {"type": "CANCELLING"}})
        code = "from flows.server.cancel import *; end_overdue({})"
        server.python("-c", code.format("OVERDUE"))
        assert lives(engine.pid), "its worker has half a minute to stop it"
        server.python("-c", code.format("timedelta(0)"))
        assert not lives(engine.pid) and lives(bystander.pid)
        assert server.state(run)["type"] == "CANCELLED" and server.state(other)["type"] == "RUNNING"
    finally:
        worker.resume()
    bystander.kill()
    server.wait(other, "CRASHED")
    assert server.state(run)["type"] == "CANCELLED", "the worker does not change the state"
    assert {task["state"]["type"] for task in server.tasks(run)} <= {"CANCELLED", "CRASHED"}


BY_HAND = """
import os, time
from pathlib import Path
from flows.server.temporary import start_server
from tasks.common.paths import work_folder
assert start_server(work_folder(), Path.cwd()) is None
from prefect import flow
@flow
def by_hand():
    time.sleep(60)
by_hand()
"""
SHORTEN = """
from datetime import timedelta
from prefect.client.orchestration import get_client
from flows.server import install
with get_client(sync_client=True) as client:
    install.set_automation(client, install.crash_zombies(timedelta(seconds=10)))
"""


def test_a_run_by_hand_is_recorded_and_crashes_without_heartbeats(server: RunningServer) -> None:
    """The automation's timeout is seconds here instead of minutes."""
    server.python("-c", SHORTEN)
    own = {name: value for name, value in server.checkout.environment().items() if not name.startswith("PREFECT_")}
    process = subprocess.Popen([sys.executable, "-c", BY_HAND], cwd=server.checkout.path, env=own)
    try:
        until(lambda: flow_runs(server, "by-hand"), seconds=60)
        run = flow_runs(server, "by-hand")[0]["id"]
        server.wait(run, "RUNNING")
        beat = {
            "filter": {
                "event": {"name": ["prefect.flow-run.heartbeat"]},
                "resource": {"id": [f"prefect.flow-run.{run}"]},
            }
        }
        until(lambda: server.api("/events/filter", beat)["events"], seconds=30)
    finally:
        process.kill()
        process.wait()
    assert server.wait(run, "CRASHED")["message"].startswith("its process sent no heartbeat")
    server.install()


def flow_runs(server: RunningServer, flow: str) -> list[dict[str, str]]:
    found: list[dict[str, str]] = server.api("/flow_runs/filter", {"flows": {"name": {"any_": [flow]}}})
    return found


def test_a_killed_supervisor_leaves_no_process_and_the_next_one_closes_the_runs(server: RunningServer) -> None:
    run = server.start("retrain", seconds=120)
    server.engine(run)
    family = server.family()
    assert len(family) >= 8, "the supervisor, and server, worker, engine and watch, each under supervise.py"
    family[0].kill()
    until(lambda: not any(lives(process.pid) for process in family), seconds=15)
    down = server.run("status")
    assert down.returncode == 3 and down.stdout.startswith("down; `make up` starts it\n")
    assert server.run("down").stdout == "nothing is up\n"
    server.up()
    assert server.state(run)["type"] == "CRASHED"
    assert {task["state"]["type"] for task in server.tasks(run)} == {"CRASHED"}


def test_down_ends_every_process_and_closes_the_runs(server: RunningServer) -> None:
    run = server.start("retrain", seconds=120)
    server.engine(run)
    family, began, name = server.family(), time.monotonic(), server.api(f"/flow_runs/{run}")["name"]
    done = server.run("down")
    assert done.returncode == 0 and done.stdout.endswith("down\n"), done.stdout + done.stderr
    assert not [process for process in family if lives(process.pid)]
    assert time.monotonic() - began < 40
    assert not (server / ".work/server/state.json").exists()
    with sqlite3.connect(server / ".work/prefect/prefect.db") as database:
        (state,) = database.execute("SELECT state_type FROM flow_run WHERE name = ?", [name]).fetchone()
    assert state == "CRASHED"
    server.up()  # for the tests of other files, which share it
