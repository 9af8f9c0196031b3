"""A box that is up, with flows that do next to nothing, and one whose `retrain` really trains."""

import secrets
from collections.abc import Iterator

import pytest

from tests.flows.server.running_server import Box
from tests.flows.server.training_server import TrainingServer


@pytest.fixture(scope="session")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    """A box that is up, with a password and a watched folder."""
    folder = tmp_path_factory.mktemp("box")
    incoming = folder / "incoming"
    incoming.mkdir()
    one = Box(folder / "project", PASSWORD=secrets.token_hex(8), WATCH=str(incoming), QUIET="2")
    one.up()
    yield one
    one.run("down")


@pytest.fixture(scope="session")
def training_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TrainingServer]:
    """A server that is up; nobody may outlive it."""
    one = TrainingServer(tmp_path_factory.mktemp("training_server") / "project")
    one.up()
    yield one
    one.run("down")
    assert not list(one.processes())
