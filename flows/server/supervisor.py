"""The supervisor: the parent process of the server's parts, which starts, restarts and stops them in order."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import psutil
from filelock import Timeout

from flows.server import clients
from flows.server.child import Child, log
from flows.server.clients import START_SECONDS, healthy
from flows.server.settings import Settings, check_port
from flows.server.state import State, log_folder, read_state, remove_state, server_folder, server_lock, write_state
from tasks.common.errors import UserError

POLL_SECONDS = 0.2
WORKER_GRACE = 4.0  # seconds after each of SIGINT, SIGTERM and SIGKILL; at the first, a flow's stages save and stop
GRACE = 2.0
STAGES_SECONDS = 15.0  # stages may stop this much later than their worker
LOCK_SECONDS = 2.0  # longer than is_supervised holds the lock
UVICORN = ("uvicorn", "--factory", "flows.server.app:create_app", "--log-level", "warning")


def serve(settings: Settings, work: Path, root: Path) -> None:
    """Runs the server until SIGTERM or SIGINT; raises UserError when one runs already or this one cannot start."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        with server_lock(work).acquire(timeout=LOCK_SECONDS):
            remove_state(work)  # of a supervisor that was killed
            check_port(settings)
            _Supervisor(settings, work, root, stop).run()
    except Timeout:
        state = read_state(work)
        raise UserError(f"already up{f' at {state.address}' if state else ''}; `make down` stops it") from None


class _Supervisor:
    def __init__(self, settings: Settings, work: Path, root: Path, stop: threading.Event) -> None:
        self._settings, self._work, self._root, self._stop = settings, work, root, stop
        self._started = datetime.now(UTC).isoformat(timespec="seconds")
        self._ready = False
        client = clients.client_environment(settings, work, root)
        uvicorn = (*UVICORN, "--host", settings.host, "--port", str(settings.port))
        self._server = self._child("server", clients.server_environment(settings, work), GRACE, *uvicorn)
        self._install = self._child("install", client, GRACE, "flows.server.install")
        self._worker = self._child(
            "worker", clients.worker_environment(settings, work, root), WORKER_GRACE, "flows.server.worker"
        )
        self._close = self._child("close", client, GRACE, "flows.server.stale")
        self._restarted = [self._server, self._worker, self._child("cancel", client, GRACE, "flows.server.cancel")]
        if settings.watch:
            watch = ("flows.server.watch", str(settings.watch), f"{settings.quiet:g}")
            self._restarted.append(self._child("watch", client, GRACE, *watch))

    def run(self) -> None:
        """Starts everything and restarts what ends, until the stop event is set."""
        server_folder(self._work)
        try:
            self._start()
            while not self._stop.wait(POLL_SECONDS):
                for child in self._restarted:
                    if child.restart_if_ended():
                        self._write_state()
        finally:
            self._end()

    def _start(self) -> None:
        self._server.start()
        self._install.start()  # imports Prefect while the server starts
        self._write_state()
        self._wait(self._server, lambda: healthy(self._settings.api))
        self._wait(self._install, lambda: self._install.code == 0)
        if self._stop.is_set():
            return
        for child in self._restarted[1:]:
            child.start()
        self._ready = True
        self._write_state()
        log(f"up at {self._settings.address}")

    def _wait(self, child: Child, done: Callable[[], bool]) -> None:
        """Waits until `done` or the stop event; raises UserError when the child ends before, or takes too long."""
        until = time.monotonic() + START_SECONDS
        while not (self._stop.wait(POLL_SECONDS) or done()):
            if child.pid is None or time.monotonic() > until:
                what = "took too long" if child.pid else "failed"
                raise UserError(f"the server's process `{child.name}` {what} ({child.last_line()}); see {child.log}")

    def _write_state(self) -> None:
        pids = {child.name: child.pid for child in self._restarted if child.pid} | {"supervisor": os.getpid()}
        own = self._settings
        state = State(own.address, own.api, own.auth, own.database_text, self._started, self._ready, pids)
        write_state(self._work, state)

    def _end(self) -> None:
        """Stops the worker and all processes that it started, closes its runs, and stops the API server last."""
        log("stopping")
        started = _descendants(self._worker.pid)
        for child in [self._install, *self._restarted[:0:-1]]:
            child.stop()
        for process in psutil.wait_procs(started, timeout=STAGES_SECONDS)[1]:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        if self._ready and healthy(self._settings.api):
            self._close.start()
            self._close.wait(START_SECONDS)
        for child in (self._close, self._server):
            child.stop()
        remove_state(self._work)
        log("stopped")

    def _child(self, name: str, env: Mapping[str, str], grace: float, *module: str) -> Child:
        command = [sys.executable, "-m", *module]
        return Child(name, command, self._root, env, log_folder(self._work) / f"{name}.log", grace)


def _descendants(pid: int | None) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True) if pid else []
    except psutil.NoSuchProcess:
        return []
