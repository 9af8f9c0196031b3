"""The server with its data in PostgreSQL, from Debian's package."""

import getpass
import os
import pwd
import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.flows.server.running_server import RunningServer, free_port

pytestmark = pytest.mark.long

NEWEST = max(Path("/usr/lib/postgresql").glob("*/bin"), default=None, key=lambda path: float(path.parent.name))
needs_postgresql = pytest.mark.skipif(NEWEST is None, reason="needs Debian's package postgresql")


@pytest.fixture
def database() -> Iterator[str]:
    """The URL of an empty database with a password, on a PostgreSQL server of its own."""
    assert NEWEST is not None
    with TemporaryDirectory(prefix="imagewright-") as place:  # other users cannot enter pytest's own folders
        yield from serve(Path(place), NEWEST)


def serve(folder: Path, programs: Path) -> Iterator[str]:
    password, port = secrets.token_hex(8), free_port()
    (folder / "password").write_text(password)
    owner = "nobody" if os.geteuid() == 0 else getpass.getuser()  # PostgreSQL refuses root
    if os.geteuid() == 0:
        for path in (folder, folder / "password"):
            os.chown(path, pwd.getpwnam(owner).pw_uid, -1)
    run = ["setpriv", f"--reuid={owner}", "--clear-groups"] if os.geteuid() == 0 else []
    data, password_file = str(folder / "data"), f"--pwfile={folder / 'password'}"
    user = ["--username=prefect", password_file, "--auth=scram-sha-256"]
    call(folder, *run, str(programs / "initdb"), "--pgdata", data, "--no-sync", *user)
    options = f"-c port={port} -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c fsync=off"
    control = [*run, str(programs / "pg_ctl"), "--pgdata", data, "--wait"]
    call(folder, *control, "--log", str(folder / "log"), "-o", options, "start")
    yield f"postgresql+asyncpg://prefect:{password}@127.0.0.1:{port}/postgres"
    call(folder, *control, "--mode", "fast", "stop")


def call(folder: Path, *command: str) -> None:
    done = subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=False)
    assert done.returncode == 0, command


@needs_postgresql
def test_everything_is_stored_in_postgresql(tmp_path: Path, database: str) -> None:
    server = RunningServer(tmp_path / "project", DATABASE=database)
    try:
        assert "database     PostgreSQL, postgres at 127.0.0.1" in server.up()
        assert server.wait(server.start("retrain"), "COMPLETED")
        assert not list((server / ".work").rglob("*.db"))
        password = database.split(":")[2].split("@")[0]
        assert not [process for process in server.family() if password in " ".join(process.cmdline())]
    finally:
        assert server.run("down").stdout.endswith("down\n")


@needs_postgresql
def test_the_error_for_a_database_that_does_not_answer_names_the_log(tmp_path: Path) -> None:
    database = f"postgresql+asyncpg://me:hidden@127.0.0.1:{free_port()}/prefect"
    server = RunningServer(tmp_path / "project", DATABASE=database)
    done = server.run("up")
    assert done.returncode == 2 and "server/server.log" in done.stderr and "hidden" not in done.stderr
    assert server.run("status").returncode == 3
