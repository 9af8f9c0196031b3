"""`python -m flows.server.install`: creates or updates the work pool, deployments and automations on the server."""

import os
import subprocess
import sys
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

from flows.server.clients import becomes_healthy
from flows.server.remote import ensure_remote
from flows.server.settings import EVENT, PREFIX
from flows.server.state import server_folder
from tasks.common.cli import run
from tasks.common.errors import UserError
from tasks.common.files import replacing
from tasks.common.paths import work_folder

POOL = "imagewright"
QUEUES = {"training": 1, "releases": None}  # the concurrency limit of each work queue
ON_NEW_DATA = "retrain/retrain-on-new-data"  # flow and deployment
HEARTBEAT_TIMEOUT = timedelta(minutes=6)  # longer than the server may be away, plus one heartbeat


def install(root: Path, work: Path) -> None:
    """Creates or updates the work pool, its queues, the deployments of prefect.yaml and the automations."""
    with get_client(sync_client=True) as client:
        create_pool(client)
        deploy(client, root, server_folder(work) / "prefect.yaml")
        new_data = client.read_deployment_by_name(ON_NEW_DATA)
        for automation in (crash_zombies(HEARTBEAT_TIMEOUT), run_on_new_data(new_data.id)):
            set_automation(client, automation)


def create_pool(client: SyncPrefectClient) -> None:
    """Creates the work pool and its queues where they are missing; existing ones keep a person's changes."""
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
    """Deploys everything in prefect.yaml; schedules and deployments that a person paused or resumed stay so.

    Prefect would take `active` and `paused` from the file each time, so it gets a copy, written to `scratch`, with the
    server's values. Raises UserError with Prefect's error.
    """
    yaml = YAML()
    content = yaml.load((root / "prefect.yaml").read_text(encoding="utf-8"))
    existing = {deployment.name: deployment for deployment in client.read_deployments()}
    for declared in content["deployments"]:
        if (found := existing.get(declared["name"])) is None:
            continue
        declared["paused"] = found.paused
        active = {schedule.slug: schedule.active for schedule in found.schedules}
        for schedule in declared.get("schedules", []):
            schedule["active"] = active.get(schedule["slug"], schedule["active"])
    with replacing(scratch) as beside:
        yaml.dump(content, beside)
    command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all", "--prefect-file", str(scratch)]
    # Without the variable, Prefect stores its name, and each machine that runs the flow reads its own checkout's path.
    env = {name: value for name, value in os.environ.items() if name != f"{PREFIX}ROOT"}
    done = subprocess.run(
        command, cwd=root, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        output = " ".join((done.stdout + done.stderr).split())
        raise UserError(f"prefect.yaml cannot be deployed: {output[-500:]}")


def crash_zombies(timeout: timedelta) -> AutomationCore:
    """The automation that marks a run Crashed after `timeout` without a heartbeat, whichever machine it ran on."""
    trigger = EventTrigger(
        match={"prefect.resource.id": "prefect.flow-run.*"},
        after={"prefect.flow-run.heartbeat"},
        expect={"prefect.flow-run.*"},  # a heartbeat or the end, in whichever state
        for_each={"prefect.resource.id"},
        posture=Posture.Proactive,
        within=timeout,
    )
    message = f"its process sent no heartbeat for {timeout.total_seconds():g} s"
    return AutomationCore(
        name="crash-zombies",
        description="Marks runs Crashed whose process sends no heartbeat any more.",
        trigger=trigger,
        actions=[ChangeFlowRunState(state=StateType.CRASHED, message=message)],
    )


def run_on_new_data(deployment_id: UUID) -> AutomationCore:
    """The automation that runs a deployment when new data was ingested."""
    return AutomationCore(
        name="retrain-on-new-data",
        description="Retrains when `imagewright ingest`, by hand or for the watched folder, ingested new data.",
        trigger=EventTrigger(expect={EVENT}, posture=Posture.Reactive, threshold=1),
        actions=[RunDeployment(deployment_id=deployment_id)],
    )


def set_automation(client: SyncPrefectClient, automation: AutomationCore) -> None:
    """Creates an automation or updates the one of the same name; one that a person disabled stays disabled."""
    if found := client.read_automations_by_name(automation.name):
        client.update_automation(found[0].id, automation.model_copy(update={"enabled": found[0].enabled}))
    else:
        client.create_automation(automation)


def main() -> None:
    """Waits for the server, which the supervisor has just started, and installs everything."""
    work = work_folder()
    ensure_remote(work)
    becomes_healthy(os.environ["PREFECT_API_URL"])
    install(Path.cwd(), work)


if __name__ == "__main__":
    run(main)
