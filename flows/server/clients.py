"""The environment of processes that use Prefect, and requests to its API without Prefect's slow import."""

import base64
import http.client
import json
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flows.core.dag import dvc_environment
from flows.server.settings import PREFIX, REPORTS_FOLDER, Settings

DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # uses no proxy
TIMEOUT_SECONDS = 5.0
START_SECONDS = 120.0
POLL_SECONDS = 0.1
# A request is retried after 2, 4, ..., 2 ** RETRIES seconds, each give or take a fifth: 203 s in all, or more.
RETRIES = 7
# A worker polls again anyway. With five retries it is back within 45 s of the server; after 15 minutes without a server
# it gives up and is restarted. prefect.yaml sets RETRIES for its runs.
WORKER_RETRIES = 5
HEARTBEAT_SECONDS = 30  # the least that Prefect allows
QUERY_SECONDS = 3  # between a worker's polls for work; Prefect's default of 10 makes a person wait
# `make up PASSWORD=...` puts the password into several variables.
SECRETS = {f"{PREFIX}PASSWORD", f"{PREFIX}DATABASE", "PASSWORD", "DATABASE", "MAKEFLAGS", "MAKEOVERRIDES", "MFLAGS"}


def common_settings(work: Path) -> dict[str, str]:
    """The environment variables of servers and clients alike."""
    return {
        "PREFECT_HOME": str(work / "prefect"),
        "PREFECT_LOGGING_SETTINGS_PATH": str(Path(__file__).with_name("logging.yml")),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
    }


def client_settings(api: str, auth: str | None) -> dict[str, str]:
    """The environment variables of a client of the server at `api`, which may be away for three minutes."""
    own = {
        "PREFECT_API_URL": api,
        "PREFECT_CLIENT_MAX_RETRIES": str(RETRIES),
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(HEARTBEAT_SECONDS),
        "PREFECT_WORKER_QUERY_SECONDS": str(QUERY_SECONDS),
    }
    return own | ({"PREFECT_API_AUTH_STRING": auth} if auth else {})


def client_environment(settings: Settings, work: Path, root: Path) -> dict[str, str]:
    """The environment of every client of the server except the worker."""
    own = {f"{PREFIX}ROOT": str(root), f"{PREFIX}REPORTS_URL": f"{settings.address}/reports"}
    return _inherited() | common_settings(work) | own | client_settings(settings.api, settings.auth)


def worker_environment(settings: Settings, work: Path, root: Path) -> dict[str, str]:
    """The environment of the worker, and so of every run; prefect.yaml sets more retries for runs."""
    return client_environment(settings, work, root) | {"PREFECT_CLIENT_MAX_RETRIES": str(WORKER_RETRIES)}


def server_environment(settings: Settings, work: Path) -> dict[str, str]:
    """The environment of Prefect's API server."""
    own = {
        "PREFECT_SERVER_API_HOST": settings.host,
        "PREFECT_SERVER_API_PORT": str(settings.port),
        "PREFECT_API_URL": settings.api,
        "PREFECT_UI_URL": settings.address,
        "PREFECT_UI_API_URL": "/api",  # relative, so that the UI works under every address of the server
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
        "PREFECT__SERVER_FINAL": "1",
        REPORTS_FOLDER: str(work / "reports"),
    }
    if settings.database:
        own["PREFECT_API_DATABASE_CONNECTION_URL"] = settings.database
    if settings.auth:
        own |= {"PREFECT_SERVER_API_AUTH_STRING": settings.auth, "PREFECT_API_AUTH_STRING": settings.auth}
    return _inherited() | common_settings(work) | own


def _inherited() -> dict[str, str]:
    """DVC's environment without secrets and without the user's own Prefect settings."""
    inherited = dvc_environment().items()
    return {name: value for name, value in inherited if name not in SECRETS and not name.startswith("PREFECT_")}


def post_json(api: str, auth: str | None, path: str, body: object) -> Any:
    """Posts JSON to the API at `api` and returns the JSON response; raises OSError when there is none or an error."""
    request = urllib.request.Request(f"{api}{path}", json.dumps(body).encode(), {"Content-Type": "application/json"})
    if auth:
        request.add_header("Authorization", f"Basic {base64.b64encode(auth.encode()).decode()}")
    with DIRECT.open(request, timeout=TIMEOUT_SECONDS) as response:
        return json.loads(response.read())


def healthy(api: str) -> bool:
    """Whether /health of the API at `api` (http://HOST:PORT/api) answers without an error."""
    try:
        DIRECT.open(f"{api}/health", timeout=TIMEOUT_SECONDS).close()
    except (OSError, http.client.HTTPException, ValueError):
        return False
    return True


def becomes_healthy(api: str, starting: Callable[[], bool] = lambda: True) -> bool:
    """Waits until the API is healthy; returns False when `starting` turns false, or after START_SECONDS."""
    until = time.monotonic() + START_SECONDS
    while not healthy(api):
        if not starting() or time.monotonic() > until:
            return False
        time.sleep(POLL_SECONDS)
    return True
