"""A flow in a terminal: what signals do to it, and the lock of the checkout that it works in."""

import os
import signal
import sys
import threading
from contextlib import AbstractContextManager
from types import FrameType

from tasks.common.paths import in_turn, work_folder

PATIENCE_SECONDS = 30.0  # from a signal to the end by force


def catch_signals() -> None:
    """Lets SIGINT and SIGTERM end the run in good order."""
    signal.signal(signal.SIGINT, _interrupt)
    signal.signal(signal.SIGTERM, _interrupt)


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


def run_lock() -> AbstractContextManager[None]:
    """Holds the checkout's run lock: whatever works on its data in place takes turns, and says that it waits.

    Runs in worktrees need no such lock.
    """
    file = work_folder() / "run.lock"
    return in_turn(file, f"waiting for another run in this checkout to end ({file})")
