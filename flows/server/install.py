"""`python -m flows.server.install`: brings the server to what prefect.yaml and this file say. Once, or again."""

import os
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState, RunDeployment
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.exceptions import ObjectNotFound
from ruamel.yaml import YAML

from flows.server.clients import healthy
from flows.server.remote import ensure_remote
from flows.server.settings import EVENT, PREFIX
from flows.server.state import server_folder
from tasks.common.cli import run
from tasks.common.errors import UserError
from tasks.common.files import replacing
from tasks.common.paths import work_folder

POOL = "imagewright"
QUEUES = {"training": 1, "releases": None}  # how many runs at a time
ON_NEW_DATA = ("retrain", "retrain-on-new-data")  # flow and deployment
SILENCE = timedelta(minutes=6)  # without a heartbeat: longer than the server may be away, and a beat more
START_SECONDS = 120.0
POLL_SECONDS = 0.2


def install(root: Path, work: Path) -> None:
    """Makes the work pool, its queues, the deployments of prefect.yaml and the automations, or updates them."""
    with get_client(sync_client=True) as client:
        make_pool(client)
        deploy(client, root, server_folder(work) / "prefect.yaml")
        flow, deployment = ON_NEW_DATA
        new_data = client.read_deployment_by_name(f"{flow}/{deployment}")
        for automation in (crash_zombies(SILENCE), run_on_event(new_data.id)):
            keep_automation(client, automation)


def make_pool(client: SyncPrefectClient) -> None:
    """Makes the work pool and its queues; what is there is left as a person may have changed it."""
    try:
        client.read_work_pool(POOL)
    except ObjectNotFound:
        client.create_work_pool(WorkPoolCreate(name=POOL, type="process"))
    for name, limit in QUEUES.items():
        try:
            client.read_work_queue_by_name(name, work_pool_name=POOL)
        except ObjectNotFound:
            client.create_work_queue(name, work_pool_name=POOL, concurrency_limit=limit)


def deploy(client: SyncPrefectClient, root: Path, scratch: Path) -> None:
    """Deploys all of prefect.yaml; a schedule or deployment that a person switched on or off stays so.

    Prefect takes `active` and `paused` from the file each time, so it gets a copy of it, at `scratch`, that says what
    the server says. Raises UserError with Prefect's complaint.
    """
    yaml = YAML()
    content = yaml.load((root / "prefect.yaml").read_text(encoding="utf-8"))
    known = {deployment.name: deployment for deployment in client.read_deployments()}
    for wanted in content["deployments"]:
        if (found := known.get(wanted["name"])) is None:
            continue
        wanted["paused"] = found.paused
        active = {schedule.slug: schedule.active for schedule in found.schedules}
        for schedule in wanted.get("schedules", []):
            schedule["active"] = active.get(schedule["slug"], schedule["active"])
    with replacing(scratch) as beside:
        yaml.dump(content, beside)
    command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all", "--prefect-file", str(scratch)]
    # Unknown now, the checkout's place is looked up by whatever machine runs the flow.
    env = {name: value for name, value in os.environ.items() if name != f"{PREFIX}ROOT"}
    done = subprocess.run(
        command, cwd=root, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        words = " ".join((done.stdout + done.stderr).split())
        raise UserError(f"prefect.yaml cannot be deployed: {words[-500:]}")


def crash_zombies(silence: timedelta) -> AutomationCore:
    """Marks a run Crashed whose process has not been heard of for so long, whichever machine it ran on."""
    trigger = EventTrigger(
        match={"prefect.resource.id": "prefect.flow-run.*"},
        after={"prefect.flow-run.heartbeat"},
        expect={"prefect.flow-run.*"},  # a heartbeat or the end, whatever the end is called
        for_each={"prefect.resource.id"},
        posture=Posture.Proactive,
        within=silence,
    )
    message = f"nothing was heard of its process for {silence.total_seconds():g} s"
    return AutomationCore(
        name="crash-zombies",
        description="Marks runs as crashed whose process has died without a word.",
        trigger=trigger,
        actions=[ChangeFlowRunState(state=StateType.CRASHED, message=message)],
    )


def run_on_event(deployment_id: UUID) -> AutomationCore:
    """Runs a deployment when new data was taken in."""
    return AutomationCore(
        name="retrain-on-new-data",
        description="Retrains when `python -m flows.ingest`, by hand or for the watched folder, took in new data.",
        trigger=EventTrigger(expect={EVENT}, posture=Posture.Reactive, threshold=1),
        actions=[RunDeployment(deployment_id=deployment_id)],
    )


def keep_automation(client: SyncPrefectClient, wanted: AutomationCore) -> None:
    """Makes the automation, or makes one of that name the same; one that a person switched off stays off."""
    found = client.read_automations_by_name(wanted.name)
    if not found:
        client.create_automation(wanted)
        return
    client.update_automation(found[0].id, wanted.model_copy(update={"enabled": found[0].enabled}))


def main() -> None:
    """Waits for the server, which the keeper has just started, and installs everything."""
    work, api = work_folder(), os.environ["PREFECT_API_URL"]
    ensure_remote(work)
    until = time.monotonic() + START_SECONDS
    while not healthy(api) and time.monotonic() < until:
        time.sleep(POLL_SECONDS)
    install(Path.cwd(), work)


if __name__ == "__main__":
    run(main)
