"""The environment of processes that use Prefect, and requests to its API without Prefect's slow import."""

import base64
import http.client
import json
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

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
