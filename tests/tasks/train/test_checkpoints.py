"""Checkpoints of several trainings at once: whose folder may go, and whose may not."""

import multiprocessing
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from tasks.common.files import remove
from tasks.common.inputs import Inputs
from tasks.common.paths import work_folder
from tasks.train.checkpoints import KEPT, Checkpoints, _lock

PROCESSES = multiprocessing.get_context("forkserver")  # one process imports what all of them need
PROCESSES.set_forkserver_preload([Checkpoints.__module__])


def hold(place: Path, seed: int, connection: Connection) -> None:
    """Sends "held" when it holds the key of a seed, and holds it until an answer comes."""
    os.chdir(place)
    with Checkpoints("train_gan", Inputs({"seed": seed}, {}, {}), {}).held():
        connection.send("held")
        connection.recv()


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that is no repository, whose `.work` is its own."""
    monkeypatch.chdir(tmp_path)
    work_folder.cache_clear()
    yield work_folder()
    work_folder.cache_clear()


class Trainer:
    """A process that holds the key of a seed until it is let go."""

    def __init__(self, place: Path, seed: int) -> None:
        self.connection, theirs = PROCESSES.Pipe()
        self.process = PROCESSES.Process(target=hold, args=(place, seed, theirs), daemon=True)
        self.process.start()
        theirs.close()  # so that a process that dies is an EOFError here
        assert self.connection.recv() == "held"

    def end(self) -> None:
        self.connection.send("end")
        self.process.join(60)
        assert self.process.exitcode == 0


def folder(seed: int) -> Path:
    return Checkpoints("train_gan", Inputs({"seed": seed}, {}, {}), {}).folder


def test_a_key_that_is_held_is_never_pruned(work: Path) -> None:
    trainers = [Trainer(work.parent, seed) for seed in range(KEPT + 1)]
    assert all((folder(seed) / "inputs.json").exists() for seed in range(KEPT + 1))
    for trainer in trainers:
        trainer.end()
    Trainer(work.parent, 99).end()
    assert (folder(99) / "inputs.json").exists()
    assert sum(folder(seed).exists() for seed in range(KEPT + 1)) == KEPT - 1


def test_what_was_used_last_stays(work: Path) -> None:
    held = {seed: Checkpoints("train_gan", Inputs({"seed": seed}, {}, {}), {}) for seed in range(KEPT + 1)}
    for seed in range(KEPT):
        with held[seed].held():
            time.sleep(0.02)
    with held[0].held():  # the oldest by its start is used again
        time.sleep(0.02)
    with held[KEPT].held():
        pass
    assert [seed for seed in held if folder(seed).exists()] == [0, *range(2, KEPT + 1)]


def test_who_waits_while_a_folder_is_pruned_makes_it_anew(work: Path) -> None:
    """The lock lies beside the folder: in it, whoever waited would hold a file that is gone."""
    Trainer(work.parent, 0).end()
    pruning = _lock(folder(0)).acquire()
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(Trainer, work.parent, 0)
        with pytest.raises(TimeoutError):
            waiting.result(timeout=3)
        remove(folder(0))
        pruning.lock.release()
        trainer = waiting.result(timeout=60)
    assert (folder(0) / "inputs.json").exists()
    trainer.end()
