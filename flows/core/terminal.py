"""A flow in a terminal: how it reacts to signals, and the lock of the checkout that it works in."""

import os
import signal
import sys
import threading
from contextlib import AbstractContextManager
from types import FrameType

from tasks.common.paths import hold_lock, work_folder

PATIENCE_SECONDS = 30.0  # from the signal to the forced exit


def catch_signals() -> None:
    """Lets SIGINT and SIGTERM end the run in an orderly way."""
    signal.signal(signal.SIGINT, _interrupt)
    signal.signal(signal.SIGTERM, _interrupt)


def _interrupt(number: int, _: FrameType | None) -> None:
    """Ends the run with an exception, or by force if Prefect then waits for a call that the exception broke off.

    Stages and server end in either case: their supervisors notice that this process is gone.
    """
    force = threading.Timer(PATIENCE_SECONDS, os._exit, (128 + number,))
    force.daemon = True
    force.start()
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    sys.exit(128 + number)


def run_lock() -> AbstractContextManager[None]:
    """Holds the checkout's run lock, which everything that changes its data in place takes; prints when it waits.

    Runs in worktrees do not need it.
    """
    file = work_folder() / "run.lock"
    return hold_lock(file, f"waiting for another run in this checkout to end ({file})")
