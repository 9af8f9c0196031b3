"""The server's settings: `IMAGEWRIGHT_*` in the environment, which `make up HOST=... PORT=...` sets."""

import ipaddress
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from tasks.common.errors import UserError

PREFIX = "IMAGEWRIGHT_"
REPORTS_FOLDER = "IMAGEWRIGHT_REPORTS_FOLDER"  # the supervisor sets it for its API server; not a setting
USER = "admin"  # the user name that goes with the password
WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # and the address at which this machine reaches such a server
POSTGRESQL = "postgresql+asyncpg://"
EVENT, RESOURCE = "imagewright.data.ingested", "imagewright.data.raw"  # what `imagewright ingest` emits
VARIABLES = ("HOST", "PORT", "PASSWORD", "DATABASE", "WATCH", "QUIET", "ADDRESS")


@dataclass(frozen=True)
class Settings:
    """The settings that `read_settings` has checked; `quiet` is in seconds."""

    host: str = "127.0.0.1"
    port: int = 4200
    password: str | None = field(default=None, repr=False)
    database: str | None = field(default=None, repr=False)
    watch: Path | None = None
    quiet: float = 60.0
    public: str | None = None

    @property
    def address(self) -> str:
        """The URL for browsers; it has the machine's name where the server listens on all addresses."""
        name = socket.gethostname() if self.host in WILDCARDS else self.host
        return self.public or f"http://{_in_url(name)}:{self.port}"

    @property
    def api(self) -> str:
        """The API's URL for processes on this machine."""
        return f"http://{_in_url(WILDCARDS.get(self.host, self.host))}:{self.port}/api"

    @property
    def database_text(self) -> str:
        """The database for people, without its password."""
        if self.database is None:
            return "SQLite, .work/prefect/prefect.db"
        url = urlsplit(self.database)
        return f"PostgreSQL, {url.path.lstrip('/')} at {url.hostname or 'a local socket'}"

    @property
    def auth(self) -> str | None:
        """`user:password` as Prefect compares it, None without a password."""
        return self.password and f"{USER}:{self.password}"


def read_settings(environ: Mapping[str, str] = os.environ) -> Settings:
    """Reads the settings from the environment; an empty value counts as unset. Raises UserError for a wrong one."""
    values = {name: value for name in VARIABLES if (value := environ.get(PREFIX + name, ""))}
    watch = values.get("WATCH")
    settings = Settings(
        host=values.get("HOST", Settings.host),
        port=_integer("PORT", values.get("PORT", str(Settings.port)), 1, 65535),
        password=values.get("PASSWORD"),
        database=values.get("DATABASE"),
        watch=Path(watch).expanduser().resolve() if watch else None,
        quiet=_integer("QUIET", values.get("QUIET", f"{Settings.quiet:.0f}"), 1, 86400),
        public=values.get("ADDRESS", "").rstrip("/") or None,
    )
    _check(settings)
    return settings


def check_port(settings: Settings) -> None:
    """Raises UserError when the server could not listen on its host and port."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)[
            0
        ]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except socket.gaierror:
        raise UserError(f"HOST={settings.host} is no address of this machine; leave it out for 127.0.0.1") from None
    except OSError as error:
        raise UserError(
            f"port {settings.port} of {settings.host} cannot be used ({error.strerror}); end the process that listens "
            f"there, or choose another: `make up PORT={settings.port + 1}`"
        ) from None


def _check(settings: Settings) -> None:
    if not (_is_loopback(settings.host) or settings.password):
        raise UserError(
            f"HOST={settings.host} lets other machines connect, so a password is needed: "
            f"put one into {PREFIX}PASSWORD (for instance 16 random characters) and run this again"
        )
    if settings.database and not settings.database.startswith(POSTGRESQL):
        raise UserError(f"DATABASE must be {POSTGRESQL}USER:PASSWORD@HOST/NAME; leave it out for SQLite")
    if settings.watch and not settings.watch.is_dir():
        raise UserError(f"WATCH={settings.watch} is not a folder; create it, or choose another")
    if settings.public and urlsplit(settings.public).scheme not in ("http", "https"):
        raise UserError(f"ADDRESS={settings.public} must begin with http:// or https://")


def _integer(name: str, value: str, low: int, high: int) -> int:
    if not value.isdecimal() or not low <= int(value) <= high:
        raise UserError(f"{name}={value} is not an integer from {low:,} to {high:,}")
    return int(value)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host
