"""What whoever uses Prefect finds in its environment, and whether a server answers; without Prefect's slow import."""

import base64
import http.client
import json
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

SECONDS_TO_ANSWER = 5.0
# A request is tried again after 2, 4, ..., 2 ** RETRIES seconds, each give or take a fifth: 203 s in all, or more.
RETRIES = 7
# A worker asks again for work by itself. So that it is back within 45 s of the server, its waits end with the fifth;
# it gives up, and is started again, after 15 minutes without a server. prefect.yaml gives its runs the longer patience.
WORKER_RETRIES = 5
HEARTBEAT_SECONDS = 30  # the least that Prefect allows
QUERY_SECONDS = 3  # between a worker's questions for work; Prefect's 10 make a person wait


def common_settings(work: Path) -> dict[str, str]:
    """For servers and clients alike."""
    return {
        "PREFECT_HOME": str(work / "prefect"),
        "PREFECT_LOGGING_SETTINGS_PATH": str(Path(__file__).with_name("logging.yml")),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
    }


def client_settings(api: str, auth: str | None) -> dict[str, str]:
    """For whatever talks to the server at `api`, which may be away for three minutes."""
    own = {
        "PREFECT_API_URL": api,
        "PREFECT_CLIENT_MAX_RETRIES": str(RETRIES),
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(HEARTBEAT_SECONDS),
        "PREFECT_WORKER_QUERY_SECONDS": str(QUERY_SECONDS),
    }
    return own | ({"PREFECT_API_AUTH_STRING": auth} if auth else {})


def ask(api: str, auth: str | None, path: str, body: object) -> Any:
    """Posts JSON to the API at `api` and returns its answer; raises OSError when there is none, or it is an error."""
    request = urllib.request.Request(f"{api}{path}", json.dumps(body).encode(), {"Content-Type": "application/json"})
    if auth:
        request.add_header("Authorization", f"Basic {base64.b64encode(auth.encode()).decode()}")
    with urllib.request.urlopen(request, timeout=SECONDS_TO_ANSWER) as answer:
        return json.loads(answer.read())


def healthy(api: str) -> bool:
    """Whether the API at `api` (http://HOST:PORT/api) says that it is well."""
    place = urlsplit(api)
    connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=SECONDS_TO_ANSWER)
    try:
        connection.request("GET", f"{place.path}/health")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
