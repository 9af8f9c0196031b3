"""Prefect for a run in this checkout: its settings, and a server that lives as long as the run.

Prefect would start such a server by itself, but one that a Ctrl-C in the terminal stops before the run could tell it
what happened, and that outlives a killed run. This one stands under a supervisor, as stages do.
"""

import atexit
import http.client
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

from flows.stages import supervised

GRACE_SECONDS = 2.0
START_SECONDS = 120.0
POLL_SECONDS = 0.1
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
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"Prefect's server did not start; {self.log} has the reason")
            time.sleep(POLL_SECONDS)

    def stop(self) -> None:
        """Ends the server and waits for its end."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def _answers(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.port)
        try:
            connection.request("GET", "/api/health")
            return connection.getresponse().status == http.HTTPStatus.OK
        except OSError:
            return False
        finally:
            connection.close()


def start_server(work: Path, root: Path) -> Server | None:
    """Sets Prefect up for this process, which must not have imported it yet, and starts a server if there is none.

    Prefect's home is `work`/prefect unless the user named another. A user's own PREFECT_API_URL is kept, and the
    answer is None then.
    """
    for name, value in _settings(work).items():
        os.environ.setdefault(name, value)
    Path(os.environ["PREFECT_HOME"]).mkdir(parents=True, exist_ok=True)
    if os.environ.get("PREFECT_API_URL"):
        return None
    server = Server(root, work / "logs" / "prefect.log")
    os.environ["PREFECT_API_URL"] = server.url
    return server


def _settings(work: Path) -> dict[str, str]:
    return {
        "PREFECT_HOME": str(work / "prefect"),
        "PREFECT_LOGGING_SETTINGS_PATH": str(Path(__file__).with_name("logging.yml")),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        # As in the server that Prefect would start: no UI, and only the services that record what a run reports.
        "PREFECT_UI_ENABLED": "false",
        "PREFECT__SERVER_EPHEMERAL": "1",
        "PREFECT__SERVER_FINAL": "1",
    }


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
