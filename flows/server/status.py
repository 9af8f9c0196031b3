"""The lines of `make status` about the running server. Importing this module imports Prefect."""

from collections.abc import Iterator
from datetime import UTC, datetime

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterId
from prefect.client.schemas.objects import StateType
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.sorting import FlowRunSort

from flows.server.install import POOL
from flows.server.stale import UNFINISHED, in_states
from flows.server.state import State


def lines(state: State) -> Iterator[tuple[str, str]]:
    """Yields a name and a text for the server, its worker, each deployment, the runs and the database."""
    with get_client(sync_client=True) as client:
        started = datetime.fromisoformat(state.started).astimezone()
        yield "server", f"healthy, Prefect {client.api_version()}, {state.address}, since {started:%Y-%m-%d %H:%M}"
        workers = client.read_workers_for_work_pool(POOL)
        texts = [f"{worker.name} {worker.status.value.lower() if worker.status else 'unknown'}" for worker in workers]
        yield "worker", ", ".join(sorted(texts)) or "none yet"
        for deployment in sorted(client.read_deployments(), key=lambda deployment: deployment.name):
            yield "deployment", f"{deployment.name}: {_schedule(client, deployment)}"
        yield "runs", _runs(client)
        yield "database", state.database


def _schedule(client: SyncPrefectClient, deployment: DeploymentResponse) -> str:
    if not deployment.schedules:
        return "on demand"
    if deployment.paused or not any(schedule.active for schedule in deployment.schedules):
        return "schedule paused"
    runs = client.read_flow_runs(
        deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=[deployment.id])),
        flow_run_filter=in_states(StateType.SCHEDULED),
        sort=FlowRunSort.EXPECTED_START_TIME_ASC,
        limit=1,
    )
    starts = [run.expected_start_time.astimezone() for run in runs if run.expected_start_time]
    return f"schedule active, next run {starts[0]:%Y-%m-%d %H:%M}" if starts else "schedule active"


def _runs(client: SyncPrefectClient) -> str:
    now = datetime.now(UTC)
    runs = client.read_flow_runs(flow_run_filter=in_states(*UNFINISHED))
    scheduled = client.read_flow_runs(flow_run_filter=in_states(StateType.SCHEDULED))
    late = [run for run in scheduled if run.expected_start_time and run.expected_start_time <= now]
    return ", ".join(f"{run.name} {run.state_name}" for run in [*runs, *late]) or "none"
