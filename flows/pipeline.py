"""`make run`, or `python -m flows.pipeline`: brings everything up to date in this checkout, recorded by Prefect.

Prefect is imported late: it reads its settings on import, its server starts meanwhile, and a person's mistake is
answered before either. Exit codes: 0 when all is up to date, 1 when a stage failed, 2 for a person's mistake, 130 for
Ctrl-C and 143 for SIGTERM.
"""

import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from filelock import FileLock, Timeout

from flows.dag import clear_stale_locks, read_dag
from flows.server import Server, start_server
from flows.stages import StageRun
from flows.summary import REPORT_COMMAND, results_text, runs_text
from tasks.console import run
from tasks.errors import UserError
from tasks.workplace import work_folder

PATIENCE_SECONDS = 30.0  # from a signal to the end by force


def main(report: Sequence[str] | None = REPORT_COMMAND) -> None:
    """Runs the flow `pipeline` in the current folder and says what came of it; `report` as for the flow."""
    signal.signal(signal.SIGINT, _interrupt)
    signal.signal(signal.SIGTERM, _interrupt)
    root = Path.cwd()
    with run_lock():
        clear_stale_locks(root)
        read_dag(root)  # finds mistakes before anything is started
        runs = _run_flow(root, report, start_server(work_folder(), root))
        print(f"\n{runs_text(runs)}\n\n{results_text(root)}", flush=True)


def _interrupt(number: int, _: FrameType | None) -> None:
    """Ends the run where it stands; by force, should Prefect wait for ever for a call that this broke off.

    Stages and server end in either case: their supervisors notice that this process is gone.
    """
    force = threading.Timer(PATIENCE_SECONDS, os._exit, (128 + number,))
    force.daemon = True
    force.start()
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    sys.exit(128 + number)


def _run_flow(root: Path, report: Sequence[str] | None, server: Server | None) -> Sequence[StageRun]:
    from flows.body import PipelineError, pipeline

    if server:
        server.wait()
    try:
        return pipeline(root, report)
    except PipelineError as error:
        print(f"\n{runs_text(error.runs)}\n\nerror: {error}; finished stages are kept, run this again", flush=True)
        sys.exit(1)


@contextmanager
def run_lock() -> Iterator[None]:
    """Holds the project's run lock, which all its worktrees share; raises UserError when another run has it."""
    lock = FileLock(work_folder() / "run.lock")
    try:
        held = lock.acquire(timeout=0)
    except Timeout:
        raise UserError(f"another run holds {lock.lock_file}; wait until it ends, or stop it") from None
    with held:
        yield


if __name__ == "__main__":
    run(main)
