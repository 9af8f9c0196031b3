"""Prefect for a run in this checkout: its settings, and a temporary server that lives as long as the run.

Prefect could start such a server itself, but Ctrl-C in the terminal stops that one before the run can report its state,
and it outlives a killed run. This one runs under flows/core/supervise.py, as stages do. Where `make up` has started a
server, the run is recorded there instead.
"""

import atexit
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flows.core.dag import dvc_environment
from flows.server.child import Child
from flows.server.clients import becomes_healthy, common_settings
from flows.server.state import live_server, use_server
from tasks.common.paths import work_folder

GRACE_SECONDS = 2.0
# As in the server that Prefect would start: no UI, and only the services that record what a run reports.
TEMPORARY = {"PREFECT_UI_ENABLED": "false", "PREFECT__SERVER_EPHEMERAL": "1", "PREFECT__SERVER_FINAL": "1"}
UVICORN = ("-m", "uvicorn", "--factory", "prefect.server.api.server:create_app", "--log-level", "error")


def start_server(work: Path, root: Path) -> Child | None:
    """Sets Prefect up for this process, which must not have imported it yet, and starts a temporary server if needed.

    Prefect's home is `work`/prefect unless the user set another. Returns None and starts nothing when the user has set
    PREFECT_API_URL or `make up` has started a server.
    """
    os.environ.update(common_settings(work) | os.environ)
    Path(os.environ["PREFECT_HOME"]).mkdir(parents=True, exist_ok=True)
    if os.environ.get("PREFECT_API_URL"):
        return None
    if state := live_server(work):
        use_server(state, work)
        return None
    os.environ.update(TEMPORARY | os.environ)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    log = work / "logs" / "prefect.log"
    log.unlink(missing_ok=True)
    # A low priority, because its housekeeping would delay a training, whose threads wait for each other at every layer.
    command = ["nice", sys.executable, *UVICORN, "--host", "127.0.0.1", "--port", str(port)]
    server = Child("server", command, root, dvc_environment(), log, GRACE_SECONDS)
    server.start()
    # Prefect sends its last logs when the interpreter exits; exit handlers run in reverse order, so this one runs last.
    atexit.register(server.stop)
    os.environ["PREFECT_API_URL"] = f"http://127.0.0.1:{port}/api"
    return server


@contextmanager
def recorded(root: Path) -> Iterator[None]:
    """Sets Prefect up for this process and starts a server where none runs; the server starts while the block runs.

    Raises RuntimeError after the block when the server has not started.
    """
    server = start_server(work_folder(), root)
    yield
    if server and not becomes_healthy(os.environ["PREFECT_API_URL"], lambda: server.pid is not None):
        raise RuntimeError(f"Prefect's server did not start; {server.log} has the reason")
