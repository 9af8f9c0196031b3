"""A run that a worker started ends when its worker is gone: nobody could cancel it any more."""

import os
import signal
import threading
import time

STARTED_BY_WORKER = "PREFECT__FLOW_RUN_ID"  # what a worker tells the process of a run
POLL_SECONDS = 1.0
PATIENCE_SECONDS = 12.0  # from the signal to the end by force; stages end in either case, by their supervisors


def end_with_worker() -> None:
    """Watches, in a thread of its own, whether the worker lives that started this process, if one did."""
    if STARTED_BY_WORKER not in os.environ:
        return
    threading.Thread(target=_watch, args=(os.getppid(),), name="guard", daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(POLL_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(PATIENCE_SECONDS)
    os._exit(128 + signal.SIGTERM)
