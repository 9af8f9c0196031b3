"""`make status`: what the box is doing, a line for each thing that may go wrong."""

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from flows.server.remote import remote_text
from flows.server.state import State, live_server, use_server

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.filters import FlowRunFilter
    from prefect.client.schemas.responses import DeploymentResponse

WIDTH = 12


def status(work: Path) -> bool:
    """Prints the status; says whether the box is up."""
    box = live_server(work)
    if box is None:
        print("down; `make up` starts it")
    else:
        for what, words in _lines(box, work):
            print(f"{what:<{WIDTH}} {words}", flush=True)
    for what, words in (("DVC remote", remote_text(work)), ("disk", disk_text(work))):
        print(f"{what:<{WIDTH}} {words}")
    return box is not None


def disk_text(work: Path) -> str:
    """Free space where the box keeps its things."""
    usage = shutil.disk_usage(work)
    return f"{usage.free / 1e9:,.1f} GB free of {usage.total / 1e9:,.1f}"


def _lines(box: State, work: Path) -> Iterator[tuple[str, str]]:
    use_server(box, work)
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        began = datetime.fromisoformat(box.started).astimezone()
        yield "server", f"healthy, Prefect {client.api_version()}, {box.address}, since {began:%Y-%m-%d %H:%M}"
        yield "worker", _workers(client)
        for deployment in sorted(client.read_deployments(), key=lambda found: found.name):
            yield "deployment", f"{deployment.name}: {_schedules(client, deployment)}"
        yield "runs", _runs(client)
        yield "database", box.database


def _workers(client: "SyncPrefectClient") -> str:
    from flows.server.install import POOL

    workers = client.read_workers_for_work_pool(POOL)
    words = [f"{worker.name} {worker.status.value.lower() if worker.status else 'unknown'}" for worker in workers]
    return ", ".join(sorted(words)) or "none yet"


def _schedules(client: "SyncPrefectClient", deployment: "DeploymentResponse") -> str:
    from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterId
    from prefect.client.schemas.sorting import FlowRunSort

    if not deployment.schedules:
        return "on demand"
    if deployment.paused or not any(schedule.active for schedule in deployment.schedules):
        return "schedule paused"
    one = DeploymentFilter(id=DeploymentFilterId(any_=[deployment.id]))
    runs = client.read_flow_runs(
        deployment_filter=one,
        flow_run_filter=_in_states("SCHEDULED"),
        sort=FlowRunSort.EXPECTED_START_TIME_ASC,
        limit=1,
    )
    when = [run.expected_start_time.astimezone() for run in runs if run.expected_start_time]
    return f"schedule active, next run {when[0]:%Y-%m-%d %H:%M}" if when else "schedule active"


def _runs(client: "SyncPrefectClient") -> str:
    runs = client.read_flow_runs(flow_run_filter=_in_states("RUNNING", "PENDING", "CANCELLING"))
    waiting = client.read_flow_runs(flow_run_filter=_in_states("SCHEDULED"))
    due = [run for run in waiting if run.expected_start_time and run.expected_start_time <= datetime.now(UTC)]
    words = [f"{run.name} {run.state_name}" for run in [*runs, *due]]
    return ", ".join(words) or "none"


def _in_states(*types: str) -> "FlowRunFilter":
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterState, FlowRunFilterStateType
    from prefect.client.schemas.objects import StateType

    wanted = [StateType(one) for one in types]
    return FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=wanted)))
