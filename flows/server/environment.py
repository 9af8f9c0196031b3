"""What the keeper's children find in their environment."""

from pathlib import Path

from flows.core.dag import dvc_environment
from flows.server.clients import WORKER_RETRIES, client_settings, common_settings
from flows.server.settings import PREFIX, REPORTS_FOLDER, Settings

# `make up PASSWORD=...` leaves it in several places.
SECRETS = {f"{PREFIX}PASSWORD", f"{PREFIX}DATABASE", "PASSWORD", "DATABASE", "MAKEFLAGS", "MAKEOVERRIDES", "MFLAGS"}


def client(settings: Settings, work: Path, root: Path) -> dict[str, str]:
    """For whatever talks to the server, but the worker."""
    own = {f"{PREFIX}ROOT": str(root), f"{PREFIX}REPORTS_URL": f"{settings.address}/reports"}
    return _ours() | common_settings(work) | own | client_settings(settings.api, settings.auth)


def worker(settings: Settings, work: Path, root: Path) -> dict[str, str]:
    """For the worker, hence for every flow run, to which prefect.yaml gives back the patience of a client."""
    return client(settings, work, root) | {"PREFECT_CLIENT_MAX_RETRIES": str(WORKER_RETRIES)}


def server(settings: Settings, work: Path) -> dict[str, str]:
    """For Prefect's server."""
    own = {
        "PREFECT_SERVER_API_HOST": settings.host,
        "PREFECT_SERVER_API_PORT": str(settings.port),
        "PREFECT_API_URL": settings.api,
        "PREFECT_UI_URL": settings.address,
        "PREFECT_UI_API_URL": "/api",  # of whatever address the browser called
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
        "PREFECT__SERVER_FINAL": "1",
        REPORTS_FOLDER: str(work / "reports"),
    }
    if settings.database:
        own["PREFECT_API_DATABASE_CONNECTION_URL"] = settings.database
    if settings.auth:
        own |= {"PREFECT_SERVER_API_AUTH_STRING": settings.auth, "PREFECT_API_AUTH_STRING": settings.auth}
    return _ours() | common_settings(work) | own


def _ours() -> dict[str, str]:
    """This process's environment with the interpreter first on PATH, without secrets and other Prefect settings."""
    return {
        name: value
        for name, value in dvc_environment().items()
        if name not in SECRETS and not name.startswith("PREFECT_")
    }
