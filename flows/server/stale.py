"""Closes runs whose process is gone: `python -m flows.server.stale`, before a worker starts and after it ended.

A run that nobody executes any more would stay Running for ever and keep its place in a work queue with a limit.
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

WORKER_LABEL = "prefect.worker.name"  # Prefect's worker puts it on a run before it starts it
UNFINISHED = [StateType.RUNNING, StateType.CANCELLING, StateType.PENDING]
ENGINE = "prefect.engine"


def worker_name() -> str:
    """The name of this machine's worker."""
    return socket.gethostname()


def close_stale_runs(client: SyncPrefectClient) -> list[str]:
    """Closes this machine's unfinished runs that have no process, with their tasks' runs; returns their names.

    Call it while no worker of this machine runs.
    """
    pool = WorkPoolFilter(name=WorkPoolFilterName(any_=[POOL]))
    states = FlowRunFilterState(type=FlowRunFilterStateType(any_=UNFINISHED))
    runs = client.read_flow_runs(work_pool_filter=pool, flow_run_filter=FlowRunFilter(state=states))
    alone = not _others_work(client)
    stale = [run for run in runs if _is_ours(run, alone) and executed_by(run) is None]
    for run in stale:
        close_run(client, run)
    return [run.name for run in stale]


def _others_work(client: SyncPrefectClient) -> bool:
    workers = client.read_workers_for_work_pool(POOL)
    return any(worker.status == WorkerStatus.ONLINE and worker.name != worker_name() for worker in workers)


def _is_ours(run: FlowRun, alone: bool) -> bool:
    """A worker that died between taking a run and labelling it leaves no name; alone, it was this machine's."""
    return is_here(run) or (alone and WORKER_LABEL not in run.labels)


def is_here(run: FlowRun) -> bool:
    """Whether this machine's worker took the run."""
    return run.labels.get(WORKER_LABEL) == worker_name()


def executed_by(run: FlowRun) -> psutil.Process | None:
    """The process of a run of this machine, None where it is gone."""
    try:
        process = psutil.Process(int(run.infrastructure_pid or ""))
        return process if ENGINE in process.cmdline() else None
    except (ValueError, psutil.Error):
        return None


def close_run(client: SyncPrefectClient, run: FlowRun) -> None:
    """Marks a run that has no process any more, and those of its tasks that did not end, as what became of them."""
    tasks = client.read_task_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[run.id])))
    for task in tasks:
        if task.state is None or not task.state.is_final():
            client.set_task_run_state(task.id, _end_of(run), force=True)
    client.set_flow_run_state(run.id, _end_of(run), force=True)


def _end_of(run: FlowRun) -> State[None]:
    if run.state and run.state.is_cancelling():
        return Cancelled(message="its process ended before it could say so")
    return Crashed(message="its process is gone: the worker or the machine ended while it ran; run it again")


def main() -> None:
    """Closes stale runs and names them."""
    with get_client(sync_client=True) as client:
        for name in close_stale_runs(client):
            print(f"closed {name}, whose process is gone", flush=True)


if __name__ == "__main__":
    main()
