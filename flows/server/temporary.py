"""Prefect for a run in this checkout: its settings, and a server that lives as long as the run.

Prefect would start such a server by itself, but one that a Ctrl-C in the terminal stops before the run could tell it
what happened, and that outlives a killed run. This one stands under a supervisor, as stages do. Where a box is up, the
run is recorded there instead.
"""

import atexit
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from flows.core.processes import supervised
from flows.server.clients import common_settings, healthy
from flows.server.state import live_server, use_server
from tasks.common.paths import work_folder

GRACE_SECONDS = 2.0
START_SECONDS = 120.0
POLL_SECONDS = 0.1
# As in the server that Prefect would start: no UI, and only the services that record what a run reports.
BRIEF = {"PREFECT_UI_ENABLED": "false", "PREFECT__SERVER_EPHEMERAL": "1", "PREFECT__SERVER_FINAL": "1"}
UVICORN = ("-m", "uvicorn", "--factory", "prefect.server.api.server:create_app", "--log-level", "error")


class Server:
    """A Prefect server on this machine for this process; it ends when the process does, whatever ends that."""

    def __init__(self, root: Path, log: Path) -> None:
        """Starts it; what it says goes to `log`."""
        self.port, self.log = _free_port(), log
        log.parent.mkdir(parents=True, exist_ok=True)
        # Politely: its housekeeping would hold up a training, whose threads wait for each other at every layer.
        command = ["nice", sys.executable, *UVICORN, "--host", "127.0.0.1", "--port", str(self.port)]
        with log.open("wb") as file:
            self._process: subprocess.Popen[str] = supervised(command, root, GRACE_SECONDS, stdout=file.fileno())
        # Prefect sends its last logs when the interpreter exits; exit handlers run in reverse, so this one comes last.
        atexit.register(self.stop)

    @property
    def url(self) -> str:
        """Address of its API."""
        return f"http://127.0.0.1:{self.port}/api"

    def wait(self) -> None:
        """Returns when the server answers; raises RuntimeError when it ends instead or takes too long."""
        until = time.monotonic() + START_SECONDS
        while not healthy(self.url):
            if self._process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"Prefect's server did not start; {self.log} has the reason")
            time.sleep(POLL_SECONDS)

    def stop(self) -> None:
        """Ends the server and waits for its end."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def start_server(work: Path, root: Path) -> Server | None:
    """Sets Prefect up for this process, which must not have imported it yet, and starts a server if there is none.

    Prefect's home is `work`/prefect unless the user named another. A user's own PREFECT_API_URL is kept, else the
    server of a box that is up serves this run as well; the answer is None in both cases.
    """
    _set_unless_set(common_settings(work))
    Path(os.environ["PREFECT_HOME"]).mkdir(parents=True, exist_ok=True)
    if os.environ.get("PREFECT_API_URL"):
        return None
    if box := live_server(work):
        use_server(box, work)
        return None
    _set_unless_set(BRIEF)
    server = Server(root, work / "logs" / "prefect.log")
    os.environ["PREFECT_API_URL"] = server.url
    return server


def _set_unless_set(settings: Mapping[str, str]) -> None:
    for name, value in settings.items():
        os.environ.setdefault(name, value)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def recorded(root: Path) -> Iterator[None]:
    """Makes Prefect's settings for this process and starts a server where none runs; its start overlaps the block."""
    server = start_server(work_folder(), root)
    yield
    if server:
        server.wait()
