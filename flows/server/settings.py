"""How the box is set up: `IMAGEWRIGHT_*` in the environment, which `make up HOST=... PORT=...` fills."""

import ipaddress
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from tasks.common.errors import UserError

PREFIX = "IMAGEWRIGHT_"
REPORTS_FOLDER = "IMAGEWRIGHT_REPORTS_FOLDER"  # what the keeper tells its server, not a setting
USER = "admin"  # whom browsers and Prefect's UI ask for beside the password
EVERY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # and where such a server answers on its own machine
POSTGRESQL = "postgresql+asyncpg://"
EVENT, RESOURCE = "imagewright.data.ingested", "imagewright.data.raw"  # what `python -m flows.ingest` emits


@dataclass(frozen=True)
class Settings:
    """What a person may set; `read_settings` has checked it."""

    host: str = "127.0.0.1"
    port: int = 4200
    password: str | None = field(default=None, repr=False)
    database: str | None = field(default=None, repr=False)
    watch: Path | None = None
    quiet: float = 60.0
    public: str | None = None

    @property
    def address(self) -> str:
        """What people's browsers call; behind all addresses of the machine, its name."""
        name = socket.gethostname() if self.host in EVERY_ADDRESS else self.host
        return self.public or f"http://{_in_url(name)}:{self.port}"

    @property
    def api(self) -> str:
        """What processes on this machine call."""
        return f"http://{_in_url(EVERY_ADDRESS.get(self.host, self.host))}:{self.port}/api"

    @property
    def database_text(self) -> str:
        """Which data base that is, without its password."""
        if self.database is None:
            return "SQLite, .work/prefect/prefect.db"
        place = urlsplit(self.database)
        return f"PostgreSQL, {place.path.lstrip('/')} at {place.hostname or 'a local socket'}"

    @property
    def auth(self) -> str | None:
        """`user:password` as Prefect compares it, None without a password."""
        return self.password and f"{USER}:{self.password}"


def read_settings(environ: Mapping[str, str] = os.environ) -> Settings:
    """The settings of the environment; an empty value is none. Raises UserError for one that cannot be right."""
    given = {name: value for name in _VARIABLES if (value := environ.get(PREFIX + name, ""))}
    watch = given.get("WATCH")
    settings = Settings(
        host=given.get("HOST", Settings.host),
        port=_number("PORT", given.get("PORT", str(Settings.port)), 1, 65535),
        password=given.get("PASSWORD"),
        database=given.get("DATABASE"),
        watch=Path(watch).expanduser().resolve() if watch else None,
        quiet=_number("QUIET", given.get("QUIET", f"{Settings.quiet:.0f}"), 1, 86400),
        public=given.get("ADDRESS", "").rstrip("/") or None,
    )
    _check(settings)
    return settings


def check_port(settings: Settings) -> None:
    """Raises UserError when the server could not listen where it should."""
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(place)
    except socket.gaierror:
        raise UserError(f"HOST={settings.host} is no address of this machine; leave it out for 127.0.0.1") from None
    except OSError as error:
        raise UserError(
            f"port {settings.port} of {settings.host} cannot be used ({error.strerror}); end what listens there, "
            f"or name another: `make up PORT={settings.port + 1}`"
        ) from None


_VARIABLES = ("HOST", "PORT", "PASSWORD", "DATABASE", "WATCH", "QUIET", "ADDRESS")


def _check(settings: Settings) -> None:
    if not (_is_loopback(settings.host) or settings.password):
        raise UserError(
            f"HOST={settings.host} lets other machines in, so a password is needed: "
            f"put one into {PREFIX}PASSWORD (16 random characters, say) and run this again"
        )
    if settings.database and not settings.database.startswith(POSTGRESQL):
        raise UserError(f"DATABASE must begin with {POSTGRESQL} (USER:PASSWORD@HOST/NAME follows); SQLite needs none")
    if settings.watch and not settings.watch.is_dir():
        raise UserError(f"WATCH={settings.watch} is no folder; make it, or name another")
    if settings.public and urlsplit(settings.public).scheme not in ("http", "https"):
        raise UserError(f"ADDRESS={settings.public} must begin with http:// or https://")


def _number(name: str, value: str, low: int, high: int) -> int:
    if not value.isdecimal() or not low <= int(value) <= high:
        raise UserError(f"{name}={value} is no whole number from {low:,} to {high:,}")
    return int(value)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host
