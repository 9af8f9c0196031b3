"""What becomes of a box, and of its runs, when parts of it die, and how it ends."""

import sqlite3
import subprocess
import sys
import time

import psutil
import pytest

from tests.flows.conftest import lives, until
from tests.flows.server.running_server import Box

pytestmark = pytest.mark.long


def test_a_server_that_dies_comes_back_and_the_run_goes_on(box: Box) -> None:
    run = box.start("retrain", seconds=4, more=15)
    engine, server = box.engine(run), box.supervised("server")
    server.kill()
    until(lambda: box.supervised("server") != server, seconds=30)
    until(lambda: answers(box), seconds=60)
    assert box.wait(run, "COMPLETED", "CRASHED", "FAILED")["type"] == "COMPLETED"
    until(lambda: not lives(engine.pid), seconds=20)
    assert [task["state"]["type"] for task in box.tasks(run)] == 2 * ["COMPLETED"], "what it said meanwhile came later"


def answers(box: Box) -> bool:
    try:
        return bool(box.fetch("/api/health")[0] == 200)
    except OSError:
        return False


def test_a_worker_that_dies_takes_its_runs_along_and_comes_back(box: Box) -> None:
    run = box.start("retrain", seconds=60)
    engine, worker = box.engine(run), box.supervised("worker")
    worker.kill()
    until(lambda: not lives(engine.pid), seconds=15)
    assert box.wait(run, "CRASHED")
    until(lambda: box.supervised("worker") != worker, seconds=30)
    assert box.wait(box.start("retrain"), "COMPLETED"), "the place in the queue is free again"


def test_a_run_that_could_not_say_goodbye_is_closed(box: Box) -> None:
    run, other = box.start("retrain", seconds=60), box.start("rollback", seconds=60)
    engines = [box.engine(run), box.engine(other)]
    running = box.run("status").stdout
    assert all(f"{box.api(f'/flow_runs/{one}')['name']} Running" in running for one in (run, other))
    dying = [psutil.Process(box.pids()["worker"]), box.supervised("worker"), *engines]
    for process in dying:
        process.suspend()  # or the worker may hear of what comes next, and the run's own last word be Crashed
    box.api(f"/flow_runs/{other}/set_state", {"state": {"type": "CANCELLING"}, "force": True})
    for process in dying:
        process.kill()
    crashed, cancelled = box.wait(run, "CRASHED"), box.wait(other, "CANCELLED")
    assert crashed["message"].startswith("its process is gone") and cancelled["message"]
    assert {task["state"]["type"] for task in box.tasks(run)} == {"CRASHED"}
    assert {task["state"]["type"] for task in box.tasks(other)} == {"CANCELLED"}


def test_a_cancelled_run_ends_though_its_worker_did_not_hear_of_it(box: Box) -> None:
    """As after a minute without a server, when Prefect's worker no longer listens; here it is held up."""
    run, other = box.start("retrain", seconds=60), box.start("rollback", seconds=60)
    engine, bystander, worker = box.engine(run), box.engine(other), box.supervised("worker")
    worker.suspend()
    try:
        box.api(f"/flow_runs/{run}/set_state", {"state": {"type": "CANCELLING"}})
        look = "from flows.server.cancel import *; end_overdue({})"
        box.python("-c", look.format("OVERDUE"))
        assert lives(engine.pid), "its worker has half a minute"
        box.python("-c", look.format("timedelta(0)"))
        assert not lives(engine.pid) and lives(bystander.pid)
        assert box.state(run)["type"] == "CANCELLED" and box.state(other)["type"] == "RUNNING"
    finally:
        worker.resume()
    bystander.kill()
    box.wait(other, "CRASHED")
    assert box.state(run)["type"] == "CANCELLED", "the worker does not have another last word"
    assert {task["state"]["type"] for task in box.tasks(run)} <= {"CANCELLED", "CRASHED"}


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
    install.keep_automation(client, install.crash_zombies(timedelta(seconds=10)))
"""


def test_a_run_by_hand_is_recorded_too_and_crashes_when_it_falls_silent(box: Box) -> None:
    """With seconds for the minutes that a run may be silent."""
    box.python("-c", SHORTEN)
    own = {name: value for name, value in box.checkout.environment().items() if not name.startswith("PREFECT_")}
    process = subprocess.Popen([sys.executable, "-c", BY_HAND], cwd=box.checkout.path, env=own)
    try:
        until(lambda: flow_runs(box, "by-hand"), seconds=60)
        run = flow_runs(box, "by-hand")[0]["id"]
        box.wait(run, "RUNNING")
        beat = {
            "filter": {
                "event": {"name": ["prefect.flow-run.heartbeat"]},
                "resource": {"id": [f"prefect.flow-run.{run}"]},
            }
        }
        until(lambda: box.api("/events/filter", beat)["events"], seconds=30)
    finally:
        process.kill()
        process.wait()
    assert box.wait(run, "CRASHED")["message"].startswith("nothing was heard of its process")
    box.install()


def flow_runs(box: Box, flow: str) -> list[dict[str, str]]:
    found: list[dict[str, str]] = box.api("/flow_runs/filter", {"flows": {"name": {"any_": [flow]}}})
    return found


def test_a_keeper_that_is_killed_leaves_nothing_and_the_next_one_clears_up(box: Box) -> None:
    run = box.start("retrain", seconds=120)
    box.engine(run)
    family = box.family()
    assert len(family) >= 8, "keeper, and supervisors with server, worker and engine, watch"
    family[0].kill()
    until(lambda: not any(lives(process.pid) for process in family), seconds=15)
    down = box.run("status")
    assert down.returncode == 3 and down.stdout.startswith("down; `make up` starts it\n")
    assert box.run("down").stdout == "nothing is up\n"
    box.up()
    assert box.state(run)["type"] == "CRASHED"
    assert {task["state"]["type"] for task in box.tasks(run)} == {"CRASHED"}


def test_down_ends_every_process_and_tells_what_became_of_the_runs(box: Box) -> None:
    run = box.start("retrain", seconds=120)
    box.engine(run)
    family, began, name = box.family(), time.monotonic(), box.api(f"/flow_runs/{run}")["name"]
    done = box.run("down")
    assert done.returncode == 0 and done.stdout.endswith("down\n"), done.stdout + done.stderr
    assert not [process for process in family if lives(process.pid)]
    assert time.monotonic() - began < 40
    assert not (box / ".work/box/state.json").exists()
    with sqlite3.connect(box / ".work/prefect/prefect.db") as database:
        (state,) = database.execute("SELECT state_type FROM flow_run WHERE name = ?", [name]).fetchone()
    assert state == "CRASHED"
