"""`python -m flows.server.stale`: closes runs whose process is gone, before a worker starts and after it ended.

Such a run would stay Running for ever and occupy its place in a work queue with a concurrency limit.
"""

import socket

import psutil
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterId,
    FlowRunFilterState,
    FlowRunFilterStateType,
    WorkPoolFilter,
    WorkPoolFilterName,
)
from prefect.client.schemas.objects import FlowRun, State, StateType, WorkerStatus
from prefect.states import Cancelled, Crashed

from flows.server.install import POOL

WORKER_LABEL = "prefect.worker.name"  # Prefect's worker labels a run with it before it starts the run
UNFINISHED = [StateType.RUNNING, StateType.CANCELLING, StateType.PENDING]
ENGINE = "prefect.engine"


def worker_name() -> str:
    """The name of this machine's worker."""
    return socket.gethostname()


def in_states(*types: StateType) -> FlowRunFilter:
    """A filter for runs in states of these types."""
    return FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=list(types))))


def close_stale_runs() -> None:
    """Closes this machine's unfinished runs that have no process, with their task runs, and prints their names.

    It must not be called while a worker of this machine runs.
    """
    pool = WorkPoolFilter(name=WorkPoolFilterName(any_=[POOL]))
    with get_client(sync_client=True) as client:
        workers = client.read_workers_for_work_pool(POOL)
        alone = not any(one.status == WorkerStatus.ONLINE and one.name != worker_name() for one in workers)
        for run in client.read_flow_runs(work_pool_filter=pool, flow_run_filter=in_states(*UNFINISHED)):
            # A worker that died before it labelled a run leaves no name; if no other worker runs, it was ours.
            ours = started_here(run) or (alone and WORKER_LABEL not in run.labels)
            if ours and process_of(run) is None:
                close_run(client, run)
                print(f"closed {run.name}, whose process is gone", flush=True)


def started_here(run: FlowRun) -> bool:
    """Whether this machine's worker took the run."""
    return run.labels.get(WORKER_LABEL) == worker_name()


def process_of(run: FlowRun) -> psutil.Process | None:
    """The process of a run on this machine, None where it is gone."""
    try:
        process = psutil.Process(int(run.infrastructure_pid or ""))
        return process if ENGINE in process.cmdline() else None
    except (ValueError, psutil.Error):
        return None


def close_run(client: SyncPrefectClient, run: FlowRun) -> None:
    """Marks a run that has no process any more, and its unfinished task runs, Cancelled or Crashed."""
    tasks = client.read_task_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[run.id])))
    for task in tasks:
        if task.state is None or not task.state.is_final():
            client.set_task_run_state(task.id, _final_state(run), force=True)
    client.set_flow_run_state(run.id, _final_state(run), force=True)


def _final_state(run: FlowRun) -> State[None]:
    if run.state and run.state.is_cancelling():
        return Cancelled(message="its process ended before it could report that")
    return Crashed(message="its process is gone: the worker or the machine ended while it ran; run it again")


if __name__ == "__main__":
    close_stale_runs()
