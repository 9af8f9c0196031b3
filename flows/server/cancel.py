"""`python -m flows.server.cancel`: ends cancelled runs that their worker did not stop.

Prefect's worker learns of cancellations over a connection. After a minute without the server it stops listening for
good, although it goes on to start runs, and a run could then no longer be cancelled. A worker that still listens ends a
cancelled run within half a minute.
"""

import os
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

import psutil

from flows.server.clients import post_json

OVERDUE = timedelta(seconds=35)  # later than Prefect's worker kills a run after its cancellation
POLL_SECONDS = 5.0
GRACE_SECONDS = 15.0
WORKER_REPORT_SECONDS = 3.0  # the worker reports the run's end in this time; our state is set after it


def end_overdue(overdue: timedelta = OVERDUE) -> None:
    """Ends this machine's runs that have been Cancelling for longer than `overdue`, and marks them Cancelled.

    Does nothing while the server does not answer.
    """
    api, auth = os.environ["PREFECT_API_URL"], os.environ.get("PREFECT_API_AUTH_STRING")
    try:
        runs = post_json(api, auth, "/flow_runs/filter", {"flow_runs": {"state": {"type": {"any_": ["CANCELLING"]}}}})
    except OSError:
        return
    before = datetime.now(UTC) - overdue
    if late := [UUID(run["id"]) for run in runs if datetime.fromisoformat(run["state"]["timestamp"]) < before]:
        _end(late)


def _end(ids: Sequence[UUID]) -> None:
    from prefect.client.orchestration import get_client  # takes seconds to import, and is rarely needed

    from flows.server.stale import close_run, process_of, started_here

    with get_client(sync_client=True) as client:
        runs = [run for run in map(client.read_flow_run, ids) if started_here(run)]
        processes = [process for run in runs if (process := process_of(run))]
        for process in processes:
            process.terminate()
        for process in psutil.wait_procs(processes, timeout=GRACE_SECONDS)[1]:
            process.kill()
        time.sleep(WORKER_REPORT_SECONDS)
        for run in runs:
            close_run(client, run)
            print(f"ended the cancelled run {run.name}, which its worker had not stopped", flush=True)


if __name__ == "__main__":
    while True:
        end_overdue()
        time.sleep(POLL_SECONDS)
