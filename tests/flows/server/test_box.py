"""What a box shows, what it guards, and what it does by itself."""

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
from tests.flows.server.running_server import Box

WANTED = YAML(typ="safe").load(ROOT / "prefect.yaml")


def test_up_leads_to_pages_in_both_of_prefects_uis(box: Box) -> None:
    for path in ("/", "/v2/", "/deployments"):
        code, page = box.fetch(path)
        assert code == 200 and '<div id="' in page, path
    assert box.headers("/v2/")["Content-Security-Policy"].startswith("default-src 'self'"), "browsers ask nobody else"
    settings = json.loads(box.fetch("/ui-settings")[1])
    assert settings["api_url"] == "/api", "the UI must call whatever address the browser called"
    assert settings["auth"] == "BASIC"


def test_deployments_are_what_prefect_yaml_says(box: Box) -> None:
    found = box.deployments()
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
    assert "/" not in str(WANTED["pull"]), "a path of one machine"
    queues = {one["name"]: one["concurrency_limit"] for one in box.api("/work_queues/filter", {})}
    assert queues["training"] == 1 and queues["releases"] is None


def test_a_second_up_says_where_it_is(box: Box) -> None:
    assert box.up().startswith(f"already up at http://127.0.0.1:{box.port}\n")


def test_status_has_a_line_for_everything(box: Box) -> None:
    done = box.run("status")
    assert done.returncode == 0, done.stderr
    assert re.search(
        rf"^server +healthy, Prefect 3\.\S+, http://127.0.0.1:{box.port}, since ", done.stdout, re.MULTILINE
    )
    for words in (
        f"server +healthy, Prefect 3\\.\\S+, http://127.0.0.1:{box.port}, since ",
        "worker +\\S+ online",
        "deployment +retrain: schedule paused",
        "runs +none",
        "database +SQLite",
        "DVC remote +/.*/.work/remote, which nobody else can reach",
        "disk +[0-9.,]+ GB free",
    ):
        assert re.search(f"^{words}", done.stdout, re.MULTILINE), (words, done.stdout)


@pytest.mark.parametrize("auth", ["", "admin:wrong", "admin", ":"])
def test_without_the_password_there_is_nothing(box: Box, auth: str) -> None:
    report = box / ".work/reports/run/index.html"
    report.parent.mkdir(exist_ok=True)
    report.write_text("<h1>report</h1>")
    assert box.fetch("/api/deployments/filter", auth=auth, body={})[0] == 401
    assert box.fetch("/reports/run/index.html", auth=auth)[0] == 401
    assert box.fetch("/reports/run/index.html") == (200, "<h1>report</h1>")
    assert box.fetch("/reports/run/") == (200, "<h1>report</h1>")
    assert box.fetch("/reports/%2e%2e/box/state.json")[0] == 404


def test_the_password_stands_where_nobody_else_can_read_it(box: Box) -> None:
    password = box.settings["PASSWORD"]
    assert not [process for process in box.family() if password in " ".join(process.cmdline())]
    holding = [
        path for path in box.checkout.path.rglob("*") if path.is_file() and password.encode() in path.read_bytes()
    ]
    assert holding == [box / ".work/box/state.json"]
    assert (box / ".work/box").stat().st_mode & 0o077 == 0


@pytest.mark.long
def test_what_a_person_switched_on_or_off_stays_so(box: Box) -> None:
    retrain, rollback = box.deployments()["retrain"], box.deployments()["rollback"]
    schedule = f"/deployments/{retrain['id']}/schedules/{retrain['schedules'][0]['id']}"
    box.api(schedule, {"active": True}, "PATCH")
    box.api(f"/deployments/{rollback['id']}/pause_deployment", {})
    box.install()
    after = box.deployments()
    assert after["retrain"]["schedules"][0]["active"] and after["rollback"]["paused"]
    until(lambda: re.search(r"retrain: schedule active, next run \d{4}-", box.run("status").stdout), seconds=180)
    box.api(schedule, {"active": False}, "PATCH")
    box.api(f"/deployments/{rollback['id']}/resume_deployment", {})
    box.install()
    after = box.deployments()
    assert not after["retrain"]["schedules"][0]["active"] and not after["rollback"]["paused"]
    assert len(box.api("/automations/filter", {})) == 2


@pytest.mark.long
def test_images_in_the_watched_folder_start_a_retraining(box: Box) -> None:
    incoming = Path(box.settings["WATCH"])
    draw(incoming / "0.png", 0)
    time.sleep(1)
    draw(incoming / "1.png", 1)
    until(lambda: runs_of(box, "retrain-on-new-data"), seconds=60)
    (run,) = runs_of(box, "retrain-on-new-data")
    assert box.wait(run["id"], "COMPLETED", "FAILED", "CRASHED")["type"] == "COMPLETED"
    manifest = json.loads((box / "data/raw/manifest.json").read_text())
    assert sorted(manifest["files"]) == ["0.png", "1.png"], "both, though the second came later"
    assert (box / "journal.txt").read_text().split()[1] == f"http://127.0.0.1:{box.port}/reports"
    (event,) = box.api("/events/filter", {"filter": {"event": {"name": ["imagewright.data.ingested"]}}})["events"]
    pinned = YAML(typ="safe").load(box / "data/raw.dvc")["outs"][0]
    assert (event["payload"]["old"], event["payload"]["new"], event["payload"]["files"]) == (None, pinned["md5"], 3)
    taken = box.checkout.python("-m", "flows.ingest", str(incoming))
    assert taken.returncode == 0 and "the data is new" not in taken.stdout, "it is the same again"
    assert len(runs_of(box, "retrain-on-new-data")) == 1


def draw(path: Path, seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (28, 28), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def runs_of(box: Box, deployment: str) -> list[dict[str, str]]:
    found: list[dict[str, str]] = box.api("/flow_runs/filter", {"deployments": {"name": {"any_": [deployment]}}})
    return found


@pytest.mark.long
def test_trainings_run_one_at_a_time(box: Box) -> None:
    first = box.start("retrain", seconds=120)
    engine = box.engine(first)
    second, release = box.start("retrain-on-new-data"), box.start("rollback")
    assert box.wait(release, "COMPLETED")
    assert box.state(second)["type"] == "SCHEDULED" and box.state(first)["type"] == "RUNNING"
    engine.kill()
    box.wait(second, "COMPLETED")
    assert box.state(first)["type"] == "CRASHED"
