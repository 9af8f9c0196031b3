"""Ends a run that a worker started when the worker is gone, because nobody could cancel the run any more."""

import os
import signal
import threading
import time

STARTED_BY_WORKER = "PREFECT__FLOW_RUN_ID"  # a worker sets it for the process of a run
POLL_SECONDS = 1.0
KILL_SECONDS = 12.0  # from SIGTERM to the end by force; the stages' supervisors stop them in either case


def end_with_worker() -> None:
    """Starts a thread that ends this process when the worker that started it, if one did, is gone."""
    if STARTED_BY_WORKER in os.environ:
        threading.Thread(target=_watch, args=(os.getppid(),), name="guard", daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(POLL_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(KILL_SECONDS)
    os._exit(128 + signal.SIGTERM)
