"""Scheduled retrainings in a row on growing data: right verdicts, a version per accepted model, constant memory.

`make test` has two rounds, `make torture` thirty, or ROUNDS.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import psutil
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from tests.flows.conftest import until
from tests.flows.server.training_server import TrainingServer, refused

pytestmark = pytest.mark.long

IMAGES = 600  # digits in the first round; every round has one more
ROUNDS = int(os.environ.get("ROUNDS") or 2)
LONG = 25  # rounds needed to measure memory: Python's and Prefect's caches fill in the first ten to twenty
INTERVAL_SECONDS = 20
PROCESSES = ("server", "worker")
MOST_GROWTH = 1.10


@pytest.fixture
def schedule(training_server: TrainingServer) -> Iterator[None]:
    """Adds a schedule that creates runs faster than they end, and removes it afterwards."""
    training_server.reset()
    path = f"/deployments/{training_server.deployments()['retrain']['id']}/schedules"
    wanted = {"schedule": {"interval": INTERVAL_SECONDS}, "active": True, "parameters": {"models": "gan"}}
    [created] = training_server.api(path, [wanted])
    yield
    training_server.api(f"{path}/{created['id']}", method="DELETE")
    for run in runs(training_server):
        training_server.api(f"/flow_runs/{run['id']}", method="DELETE")
    training_server.run_checked("git", "checkout", "-q", "data/raw.dvc")
    training_server.run_checked("dvc", "checkout", "-q", "data/raw.dvc")


def runs(training_server: TrainingServer, *names: str) -> list[Any]:
    """The schedule's runs, the earliest first; only those in states of these names, if any are given."""
    wanted = {"state": {"name": {"any_": names}}} if names else {}
    found = training_server.api("/flow_runs/filter", {"flow_runs": wanted, "sort": "START_TIME_ASC"})
    return [run for run in found if run["auto_scheduled"]]


def test_thirty_scheduled_retrainings(training_server: TrainingServer, schedule: None, tmp_path: Path) -> None:
    digits = load_digits()
    expected, memory = [], []
    for number in range(ROUNDS):
        for index in range(IMAGES + number):
            path = tmp_path / str(digits.target[index]) / f"{index}.png"
            path.parent.mkdir(exist_ok=True)
            Image.fromarray((digits.images[index] * 15).astype(np.uint8)).resize((28, 28)).save(path)
        training_server.run_checked("python", "-m", "tasks.ingest", str(tmp_path))
        expected.append("Rejected" if refused(IMAGES + number) else "Released")
        until(lambda: len(verdicts(training_server)) > number, 300)  # noqa: B023
        assert verdicts(training_server) == expected
        memory.append([psutil.Process(training_server.supervised(name).pid).memory_info().rss for name in PROCESSES])
        print(f"round {number + 1}: {expected[-1]}; " + ", ".join(megabytes(memory[-1])))
    versions = [tag for tag in training_server.tags() if "@" in tag]
    assert len(versions) == expected.count("Released") and expected.count("Rejected") >= ROUNDS // 3 - 1
    assert not [run for run in runs(training_server) if run["state_type"] in ("FAILED", "CRASHED")]
    if ROUNDS >= LONG:
        early, late = ([mean(values) for values in zip(*part, strict=True)] for part in (memory[10:15], memory[-5:]))
        print("memory, early and late: " + ", ".join(megabytes(early)) + "; " + ", ".join(megabytes(late)))
        assert all(after <= MOST_GROWTH * before for before, after in zip(early, late, strict=True))


def verdicts(training_server: TrainingServer) -> list[str]:
    return [run["state"]["name"] for run in runs(training_server, "Released", "Rejected")]


def megabytes(values: Any) -> list[str]:
    return [f"{name} {value / 2**20:.0f} MiB" for name, value in zip(PROCESSES, values, strict=True)]
