"""A running server whose flows only sleep, and one whose `retrain` trains a GAN."""

import secrets
from collections.abc import Iterator

import pytest

from tests.flows.server.running_server import RunningServer
from tests.flows.server.training_server import TrainingServer


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A running server with a password and a watched folder."""
    folder = tmp_path_factory.mktemp("server")
    incoming = folder / "incoming"
    incoming.mkdir()
    running = RunningServer(folder / "project", PASSWORD=secrets.token_hex(8), WATCH=str(incoming), QUIET="2")
    running.up()
    yield running
    running.run("down")


@pytest.fixture(scope="session")
def training_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TrainingServer]:
    """A running server that trains; no process may outlive it."""
    running = TrainingServer(tmp_path_factory.mktemp("training_server") / "project")
    running.up()
    yield running
    running.run("down")
    assert not list(running.processes())
