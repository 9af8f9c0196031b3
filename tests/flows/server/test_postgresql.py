"""The box on a PostgreSQL server of Debian's package, by one setting."""

import getpass
import os
import pwd
import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.flows.server.running_server import Box, free_port

pytestmark = pytest.mark.long

NEWEST = max(Path("/usr/lib/postgresql").glob("*/bin"), default=None, key=lambda path: float(path.parent.name))
needs_postgresql = pytest.mark.skipif(NEWEST is None, reason="needs Debian's package postgresql")


@pytest.fixture
def database() -> Iterator[str]:
    """The URL of an empty data base with a password on a server of its own."""
    assert NEWEST is not None
    with TemporaryDirectory(prefix="imagewright-") as place:  # pytest's own folders are closed to other users
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
def test_postgresql_keeps_everything_by_one_setting(tmp_path: Path, database: str) -> None:
    box = Box(tmp_path / "project", DATABASE=database)
    try:
        assert "database     PostgreSQL, postgres at 127.0.0.1" in box.up()
        assert box.wait(box.start("retrain"), "COMPLETED")
        assert not list((box / ".work").rglob("*.db"))
        password = database.split(":")[2].split("@")[0]
        assert not [process for process in box.family() if password in " ".join(process.cmdline())]
    finally:
        assert box.run("down").stdout.endswith("down\n")


@needs_postgresql
def test_a_data_base_that_does_not_answer_is_named_with_the_log(tmp_path: Path) -> None:
    box = Box(tmp_path / "project", DATABASE=f"postgresql+asyncpg://me:hidden@127.0.0.1:{free_port()}/prefect")
    done = box.run("up")
    assert done.returncode == 2 and "box-server.log" in done.stderr and "hidden" not in done.stderr
    assert box.run("status").returncode == 3
