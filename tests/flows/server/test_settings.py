"""The server's settings, and the error for each wrong one."""

import socket
from pathlib import Path

import pytest
from filelock import FileLock
from ruamel.yaml import YAML

from flows.server import clients
from flows.server.clients import QUERY_SECONDS, RETRIES, TIMEOUT_SECONDS
from flows.server.settings import Settings, check_port, read_settings
from tasks.common.errors import UserError
from tests.conftest import ROOT, Checkout


def read(**given: str) -> Settings:
    return read_settings({f"IMAGEWRIGHT_{name}": value for name, value in given.items()})


def test_by_default_only_this_machine_can_connect() -> None:
    settings = read(HOST="", PASSWORD="")
    assert (settings.address, settings.api) == ("http://127.0.0.1:4200", "http://127.0.0.1:4200/api")
    assert settings.auth is None and settings.watch is None and settings.database_text.startswith("SQLite")


def test_a_wildcard_host_becomes_the_machines_name_and_loopback() -> None:
    settings = read(HOST="0.0.0.0", PASSWORD="secret", PORT="4300")
    assert settings.address == f"http://{socket.gethostname()}:4300"
    assert settings.api == "http://127.0.0.1:4300/api"
    assert read(HOST="::", PASSWORD="secret").api == "http://[::1]:4200/api"
    assert read(ADDRESS="https://images.example.com/").address == "https://images.example.com"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (
            {"HOST": "0.0.0.0"},
            "HOST=0.0.0.0 lets other machines connect, so a password is needed: put one into IMAGE",
        ),
        ({"HOST": "192.0.2.7"}, "so a password is needed"),
        ({"HOST": "server.example.com"}, "so a password is needed"),
        ({"PORT": "http"}, "PORT=http is not an integer from 1 to 65,535"),
        ({"PORT": "0"}, "PORT=0 is not an integer"),
        ({"DATABASE": "postgresql://me:secret@db/x"}, "DATABASE must be postgresql+asyncpg://"),
        ({"WATCH": "/nowhere"}, "WATCH=/nowhere is not a folder; create it, or choose another"),
        ({"ADDRESS": "images.example.com"}, "ADDRESS=images.example.com must begin with http"),
    ],
)
def test_a_wrong_setting_is_refused(given: dict[str, str], words: str) -> None:
    with pytest.raises(UserError) as refused:
        read(**given)
    assert words in str(refused.value) and "secret" not in str(refused.value)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "127.0.0.9"])
def test_loopback_needs_no_password(host: str) -> None:
    assert read(HOST=host).host == host


def test_the_error_for_a_port_in_use_suggests_another() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(
            UserError, match=rf"^port {port} of 127\.0\.0\.1 cannot be used .*`make up PORT={port + 1}`$"
        ):
            check_port(read(PORT=str(port)))
    check_port(read(PORT=str(port)))
    with pytest.raises(UserError, match="HOST=nowhere\\.invalid is no address of this machine"):
        check_port(Settings(host="nowhere.invalid"))


def test_up_with_a_wrong_setting_prints_one_line_and_starts_nothing(checkout: Checkout) -> None:
    done = checkout.python("-m", "flows.server", "up", env={"IMAGEWRIGHT_HOST": "0.0.0.0"})
    assert done.returncode == 2 and done.stderr.startswith("error: HOST=0.0.0.0 lets other machines connect")
    assert len(done.stderr.splitlines()) == 1 and not (checkout / ".work/server").exists()


def test_the_server_of_an_earlier_version_must_be_stopped_first(checkout: Checkout) -> None:
    (checkout / ".work/box").mkdir(parents=True)
    (checkout / ".work/box/state.json").write_text('{"pids": {"server": 1, "worker": 2, "keeper": 12345}}')
    with FileLock(checkout / ".work/box.lock"):
        for command in ("up", "down", "serve"):
            done = checkout.python("-m", "flows.server", command)
            assert done.returncode == 2 and "stop it with `kill 12345`" in done.stderr
    assert checkout.python("-m", "flows.server", "down").stdout == "nothing is up\n"
    assert "`keep` is called `serve` now" in checkout.python("-m", "flows.server", "keep").stderr


def test_secrets_and_foreign_settings_reach_no_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    database = "postgresql+asyncpg://me:hidden@db/prefect"
    foreign = {"PREFECT_PROFILE": "cloud", "PREFECT_API_KEY": "key", "MAKEFLAGS": "-- PASSWORD=pa55"}
    for name, value in {**foreign, "IMAGEWRIGHT_DATABASE": database}.items():
        monkeypatch.setenv(name, value)
    settings = Settings(password="pa55", database=database)
    assert "pa55" not in repr(settings) and settings.database_text == "PostgreSQL, prefect at db"
    run, server = (
        clients.client_environment(settings, tmp_path, tmp_path),
        clients.server_environment(settings, tmp_path),
    )
    assert not foreign.keys() & (run.keys() | server.keys())
    assert [name for name, value in run.items() if "pa55" in value] == ["PREFECT_API_AUTH_STRING"]
    assert not [name for name, value in run.items() if "hidden" in value]
    assert server["PREFECT_API_DATABASE_CONNECTION_URL"] == database
    assert server["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false" and server["DO_NOT_TRACK"] == "1"


def test_a_server_may_be_away_for_three_minutes() -> None:
    waits = [2**attempt for attempt in range(1, RETRIES + 1)]
    assert 0.8 * sum(waits) > 180
    pools = [one["work_pool"] for one in YAML(typ="safe").load(ROOT / "prefect.yaml")["deployments"]]
    assert {pool["job_variables"]["env"]["PREFECT_CLIENT_MAX_RETRIES"] for pool in pools} == {str(RETRIES)}


def test_a_worker_polls_within_a_minute_of_the_servers_return(tmp_path: Path) -> None:
    retries = int(clients.worker_environment(read(), tmp_path, tmp_path)["PREFECT_CLIENT_MAX_RETRIES"])
    assert 1.2 * 2**retries + 1.3 * QUERY_SECONDS + TIMEOUT_SECONDS < 60
