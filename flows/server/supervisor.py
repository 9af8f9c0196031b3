"""The one parent of everything in the box: starts it in order, starts again what ends, and stops it in order."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import psutil
from filelock import Timeout

from flows.server import environment
from flows.server.child import Child, say
from flows.server.clients import healthy
from flows.server.settings import Settings, check_port
from flows.server.state import State, read_state, remove_state, server_folder, server_lock, write_state
from tasks.common.errors import UserError

POLL_SECONDS = 0.2
START_SECONDS = 120.0
WORKER_GRACE = 4.0  # after each of three signals; a flow tells its stages to save and stop at the first
OTHER_GRACE = 2.0
LEFTOVER_SECONDS = 15.0  # what stages that were told to stop may take longer than their worker
LOCK_SECONDS = 2.0  # longer than anyone looks whether a keeper lives
UVICORN = ("-m", "uvicorn", "--factory", "flows.server.app:create_app", "--log-level", "warning")


def keep(settings: Settings, work: Path, root: Path) -> None:
    """Keeps the box up until SIGTERM or SIGINT; raises UserError when there is one or it cannot be set up."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        with server_lock(work).acquire(timeout=LOCK_SECONDS):
            remove_state(work)  # of one that was killed
            check_port(settings)
            _Supervisor(settings, work, root, stop).run()
    except Timeout:
        known = read_state(work)
        raise UserError(f"already up{f' at {known.address}' if known else ''}; `make down` ends it") from None


class _Supervisor:
    def __init__(self, settings: Settings, work: Path, root: Path, stop: threading.Event) -> None:
        self._settings, self._work, self._root, self._stop = settings, work, root, stop
        self._started = datetime.now(UTC).isoformat(timespec="seconds")
        self._ready = False
        client = environment.client(settings, work, root)
        address = ("--host", settings.host, "--port", str(settings.port))
        server = [sys.executable, *UVICORN, *address]
        self._server = self._child("server", server, environment.server(settings, work), OTHER_GRACE)
        self._install = self._child("install", _module("install"), client, OTHER_GRACE)
        self._worker = self._child("worker", _module("worker"), environment.worker(settings, work, root), WORKER_GRACE)
        self._close = self._child("close", _module("stale"), client, OTHER_GRACE)
        self._kept = [self._server, self._worker, self._child("cancel", _module("cancel"), client, OTHER_GRACE)]
        if settings.watch:
            watch = _module("watch", str(settings.watch), f"{settings.quiet:g}")
            self._kept.append(self._child("watch", watch, client, OTHER_GRACE))

    def run(self) -> None:
        """Starts everything and tends it until the end."""
        server_folder(self._work)
        try:
            self._start()
            while not self._stop.wait(POLL_SECONDS):
                for child in self._kept:
                    if child.tend():
                        self._tell()
        finally:
            self._end()

    def _start(self) -> None:
        self._server.start()
        self._install.start()  # imports Prefect while the server starts
        self._tell()
        self._wait(self._server, lambda: healthy(self._settings.api))
        self._wait(self._install, lambda: self._install.code == 0)
        if self._stop.is_set():
            return
        for child in self._kept[1:]:
            child.start()
        self._ready = True
        self._tell()
        say(f"up at {self._settings.address}")

    def _wait(self, child: Child, done: Callable[[], bool]) -> None:
        """Waits for what a child is to do; raises UserError when it ends before, or takes too long."""
        until = time.monotonic() + START_SECONDS
        while not (self._stop.wait(POLL_SECONDS) or done()):
            if child.pid is None or time.monotonic() > until:
                what = "took too long" if child.pid else "failed"
                raise UserError(f"the {child.name} of the box {what} ({child.tail()}); {child.log} has more")

    def _tell(self) -> None:
        children = [self._server, *self._kept[1:]]
        pids = {child.name: child.pid for child in children if child.pid} | {"keeper": os.getpid()}
        own = self._settings
        state = State(own.address, own.api, own.auth, own.database_text, self._started, self._ready, pids)
        write_state(self._work, state)

    def _end(self) -> None:
        """Stops the worker and all that it started, closes their runs, and stops the server last."""
        say("stopping")
        family = _descendants(self._worker.pid)
        for child in [self._install, *self._kept[:0:-1]]:
            child.stop()
        _, left = psutil.wait_procs(family, timeout=LEFTOVER_SECONDS)
        for process in left:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        if self._ready and healthy(self._settings.api):
            self._close.start()
            self._close.wait(START_SECONDS)
        for child in (self._close, self._server):
            child.stop()
        remove_state(self._work)
        say("stopped")

    def _child(self, name: str, command: Sequence[str], env: Mapping[str, str], grace: float) -> Child:
        return Child(name, command, self._root, env, self._work / "logs" / f"box-{name}.log", grace)


def _module(name: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", f"flows.server.{name}", *arguments]


def _descendants(pid: int | None) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True) if pid else []
    except psutil.NoSuchProcess:
        return []
