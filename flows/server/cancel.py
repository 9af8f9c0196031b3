"""`python -m flows.server.cancel`: ends runs that were cancelled and go on, since their worker did not hear of it.

Prefect's worker listens on a connection. When the server is away for a minute it stops listening for good, though it
goes on to work, and a run could then no longer be cancelled. What a worker does hear it ends within half a minute.
"""

import os
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

import psutil

from flows.server.clients import ask

OVERDUE = timedelta(seconds=35)  # later than Prefect's worker kills a run that it was told to cancel
POLL_SECONDS = 5.0
GRACE_SECONDS = 15.0
WORKERS_WORD_SECONDS = 3.0  # so that ours is the last


def end_overdue(overdue: timedelta = OVERDUE) -> None:
    """Ends this machine's runs that have been Cancelling for so long, and closes them; nothing where no server is."""
    api, auth = os.environ["PREFECT_API_URL"], os.environ.get("PREFECT_API_AUTH_STRING")
    try:
        runs = ask(api, auth, "/flow_runs/filter", {"flow_runs": {"state": {"type": {"any_": ["CANCELLING"]}}}})
    except OSError:
        return
    before = datetime.now(UTC) - overdue
    if late := [UUID(run["id"]) for run in runs if datetime.fromisoformat(run["state"]["timestamp"]) < before]:
        _end(late)


def _end(ids: Sequence[UUID]) -> None:
    from prefect.client.orchestration import get_client  # an import of some seconds that is hardly ever needed

    from flows.server.stale import close_run, executed_by, is_here

    with get_client(sync_client=True) as client:
        runs = [run for run in map(client.read_flow_run, ids) if is_here(run)]
        processes = [process for run in runs if (process := executed_by(run))]
        for process in processes:
            process.terminate()
        for process in psutil.wait_procs(processes, timeout=GRACE_SECONDS)[1]:
            process.kill()
        time.sleep(WORKERS_WORD_SECONDS)
        for run in runs:
            close_run(client, run)
            print(f"ended {run.name}, which was cancelled and whose worker did not hear of it", flush=True)


def main() -> None:
    """Looks again and again."""
    while True:
        end_overdue()
        time.sleep(POLL_SECONDS)


if __name__ == "__main__":
    main()
