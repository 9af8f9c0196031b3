"""A running server: its pages, deployments, status, password, automations and queues."""

import json
import re
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from ruamel.yaml import YAML

from tests.conftest import ROOT
from tests.flows.conftest import until
from tests.flows.server.running_server import RunningServer

WANTED = YAML(typ="safe").load(ROOT / "prefect.yaml")


def test_both_of_prefects_uis_answer(server: RunningServer) -> None:
    for path in ("/", "/v2/", "/deployments"):
        code, page = server.fetch(path)
        assert code == 200 and '<div id="' in page, path
    assert server.headers("/v2/")["Content-Security-Policy"].startswith("default-src 'self'")
    settings = json.loads(server.fetch("/ui-settings")[1])
    assert settings["api_url"] == "/api", "the UI must call the host that the browser called"
    assert settings["auth"] == "BASIC"


def test_deployments_match_prefect_yaml(server: RunningServer) -> None:
    found = server.deployments()
    assert set(found) == {one["name"] for one in WANTED["deployments"]}
    for wanted in WANTED["deployments"]:
        one = found[wanted["name"]]
        assert one["description"] == wanted["description"]
        assert one["tags"] == wanted["tags"]
        assert one["entrypoint"] == wanted["entrypoint"]
        assert one["work_pool_name"] == wanted["work_pool"]["name"]
        assert one["work_queue_name"] == wanted["work_pool"]["work_queue_name"]
        assert one["job_variables"] == wanted["work_pool"]["job_variables"]
        assert one["pull_steps"] == WANTED["pull"]
        schedules = [(each["slug"], each["schedule"]["cron"], each["active"]) for each in one["schedules"]]
        assert schedules == [(each["slug"], each["cron"], each["active"]) for each in wanted.get("schedules", [])]
    assert "/" not in str(WANTED["pull"]), "an absolute path exists on one machine only"
    queues = {one["name"]: one["concurrency_limit"] for one in server.api("/work_queues/filter", {})}
    assert queues["training"] == 1 and queues["releases"] is None


def test_a_second_up_prints_the_address(server: RunningServer) -> None:
    assert server.up().startswith(f"already up at http://127.0.0.1:{server.port}\n")


def test_status_has_a_line_for_each_part(server: RunningServer) -> None:
    done = server.run("status")
    assert done.returncode == 0, done.stderr
    for words in (
        f"server +healthy, Prefect 3\\.\\S+, http://127.0.0.1:{server.port}, since ",
        "worker +\\S+ online",
        "deployment +retrain: schedule paused",
        "runs +none",
        "database +SQLite",
        "DVC remote +/.*/.work/remote, which only this machine can reach",
        "disk +[0-9.,]+ GB free",
    ):
        assert re.search(f"^{words}", done.stdout, re.MULTILINE), (words, done.stdout)


@pytest.mark.parametrize("auth", ["", "admin:wrong", "admin", ":"])
def test_without_the_password_nothing_is_served(server: RunningServer, auth: str) -> None:
    report = server / ".work/reports/run/index.html"
    report.parent.mkdir(exist_ok=True)
    report.write_text("<h1>report</h1>")
    assert server.fetch("/api/deployments/filter", auth=auth, body={})[0] == 401
    assert server.fetch("/reports/run/index.html", auth=auth)[0] == 401
    assert server.fetch("/reports/run/index.html") == (200, "<h1>report</h1>")
    assert server.fetch("/reports/run/") == (200, "<h1>report</h1>")
    assert server.fetch("/reports/%2e%2e/server/state.json")[0] == 404


def test_other_users_cannot_read_the_password(server: RunningServer) -> None:
    password = server.settings["PASSWORD"]
    assert not [process for process in server.family() if password in " ".join(process.cmdline())]
    holding = [
        path for path in server.checkout.path.rglob("*") if path.is_file() and password.encode() in path.read_bytes()
    ]
    assert holding == [server / ".work/server/state.json"]
    assert (server / ".work/server").stat().st_mode & 0o077 == 0


@pytest.mark.long
def test_schedules_and_deployments_keep_what_a_person_switched(server: RunningServer) -> None:
    retrain, rollback = server.deployments()["retrain"], server.deployments()["rollback"]
    schedule = f"/deployments/{retrain['id']}/schedules/{retrain['schedules'][0]['id']}"
    server.api(schedule, {"active": True}, "PATCH")
    server.api(f"/deployments/{rollback['id']}/pause_deployment", {})
    server.install()
    after = server.deployments()
    assert after["retrain"]["schedules"][0]["active"] and after["rollback"]["paused"]
    until(lambda: re.search(r"retrain: schedule active, next run \d{4}-", server.run("status").stdout), seconds=180)
    server.api(schedule, {"active": False}, "PATCH")
    server.api(f"/deployments/{rollback['id']}/resume_deployment", {})
    server.install()
    after = server.deployments()
    assert not after["retrain"]["schedules"][0]["active"] and not after["rollback"]["paused"]
    assert len(server.api("/automations/filter", {})) == 2


@pytest.mark.long
def test_images_in_the_watched_folder_start_a_retraining(server: RunningServer) -> None:
    incoming = Path(server.settings["WATCH"])
    write_image(incoming / "0.png", 0)
    time.sleep(1)
    write_image(incoming / "1.png", 1)
    until(lambda: runs_of(server, "retrain-on-new-data"), seconds=60)
    (run,) = runs_of(server, "retrain-on-new-data")
    assert server.wait(run["id"], "COMPLETED", "FAILED", "CRASHED")["type"] == "COMPLETED"
    manifest = json.loads((server / "data/raw/manifest.json").read_text())
    assert sorted(manifest["files"]) == ["0.png", "1.png"], "the second came later and is there too"
    assert (server / "journal.txt").read_text().split()[1] == f"http://127.0.0.1:{server.port}/reports"
    (event,) = server.api("/events/filter", {"filter": {"event": {"name": ["imagewright.data.ingested"]}}})["events"]
    pinned = YAML(typ="safe").load(server / "data/raw.dvc")["outs"][0]
    assert (event["payload"]["old"], event["payload"]["new"], event["payload"]["files"]) == (None, pinned["md5"], 3)
    again = server.checkout.python("-m", "flows.ingest", str(incoming))
    assert again.returncode == 0 and "the data is new" not in again.stdout, "the data has not changed"
    assert len(runs_of(server, "retrain-on-new-data")) == 1


def write_image(path: Path, seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (28, 28), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def runs_of(server: RunningServer, deployment: str) -> list[dict[str, str]]:
    found: list[dict[str, str]] = server.api("/flow_runs/filter", {"deployments": {"name": {"any_": [deployment]}}})
    return found


@pytest.mark.long
def test_trainings_run_one_at_a_time(server: RunningServer) -> None:
    first = server.start("retrain", seconds=120)
    engine = server.engine(first)
    second, release = server.start("retrain-on-new-data"), server.start("rollback")
    assert server.wait(release, "COMPLETED")
    assert server.state(second)["type"] == "SCHEDULED" and server.state(first)["type"] == "RUNNING"
    engine.kill()
    server.wait(second, "COMPLETED")
    assert server.state(first)["type"] == "CRASHED"
