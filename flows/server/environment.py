"""The environment variables of the supervisor's child processes."""

from pathlib import Path

from flows.core.dag import dvc_environment
from flows.server.clients import WORKER_RETRIES, client_settings, common_settings
from flows.server.settings import PREFIX, REPORTS_FOLDER, Settings

# `make up PASSWORD=...` puts the password into several variables.
SECRETS = {f"{PREFIX}PASSWORD", f"{PREFIX}DATABASE", "PASSWORD", "DATABASE", "MAKEFLAGS", "MAKEOVERRIDES", "MFLAGS"}


def client(settings: Settings, work: Path, root: Path) -> dict[str, str]:
    """The environment of every client of the server except the worker."""
    own = {f"{PREFIX}ROOT": str(root), f"{PREFIX}REPORTS_URL": f"{settings.address}/reports"}
    return _inherited() | common_settings(work) | own | client_settings(settings.api, settings.auth)


def worker(settings: Settings, work: Path, root: Path) -> dict[str, str]:
    """The environment of the worker, and so of every run; prefect.yaml sets more retries for runs."""
    return client(settings, work, root) | {"PREFECT_CLIENT_MAX_RETRIES": str(WORKER_RETRIES)}


def server(settings: Settings, work: Path) -> dict[str, str]:
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
