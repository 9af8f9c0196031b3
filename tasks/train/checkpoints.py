"""Checkpoints outside DVC's outputs, so that an interrupted training goes on: one folder per key under `.work`."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout

from models.training.engine import TrainState
from models.training.learner import Learner
from models.training.state import load_networks, load_optimisers, network_tensors, optimiser_tensors
from tasks.common.errors import UserError
from tasks.common.files import digest, read_json, remove, write_json
from tasks.common.inputs import Inputs
from tasks.common.paths import work_folder
from tasks.common.tensors import load_tensors, save_tensors

KEPT = 3  # folders per stage beside those in use; older ones are pruned when a run with a new key starts
INPUTS = "inputs.json"  # in each folder: what its key stands for; its time is that of the last use


class Checkpoints:
    """The checkpoint of one stage under one key: declared inputs, and what else shapes the bits of a training."""

    def __init__(self, stage: str, inputs: Inputs, trained_with: Mapping[str, object]) -> None:
        self._about = asdict(inputs) | {"trained_with": dict(trained_with)}
        self.key = digest(self._about)
        self.folder = work_folder() / "checkpoints" / stage / self.key[:16]
        self.file, self.best = self.folder / "checkpoint.safetensors", self.folder / "best.safetensors"

    @contextmanager
    def held(self) -> Iterator[None]:
        """Holds the key: a second trainer waits here and then finds the finished result."""
        with _lock(self.folder):
            if (self.folder / INPUTS).exists():
                os.utime(self.folder / INPUTS)
            else:
                self._begin()
            yield
            os.utime(self.folder / INPUTS)

    def _begin(self) -> None:
        others = sorted(self.folder.parent.glob(f"*/{INPUTS}"), key=_last_use, reverse=True)
        if others:
            changed = ", ".join(_differences(read_json(others[0]), self._about))
            print(f"starting afresh: since the last training changed {changed}", flush=True)
        for old in others[KEPT - 1 :]:
            _prune(old.parent)
        self.folder.mkdir(parents=True, exist_ok=True)
        write_json(self.folder / INPUTS, self._about)

    def save(self, learner: Learner, train_state: TrainState, seconds: float, file: Path | None = None) -> None:
        """Replaces the checkpoint, or `file`: all that shapes the next step, the curves, and the seconds so far."""
        window = {"window": torch.stack(train_state.window)} if train_state.window else {}
        tensors = network_tensors(learner.networks) | optimiser_tensors(learner.optimisers) | window
        about = {
            "n_images": train_state.n_images,
            "rows": json.dumps(train_state.rows),
            "alarms": train_state.rollback_reasons,
        }
        save_tensors(file or self.file, tensors, about | {"seconds": seconds, "inputs": self._about})

    def save_best(self, learner: Learner, train_state: TrainState, seconds: float) -> None:
        """Keeps this moment beside the checkpoint: the best so far, to go back to when the training goes wrong."""
        self.save(learner, train_state, seconds, self.best)

    def load(self, learner: Learner, resume: Path | None = None) -> tuple[TrainState, float]:
        """Puts the learner where the checkpoint, or the one at `resume`, stands; without one, a clock at 0.

        Raises UserError when it is damaged, and when `resume` is missing or of other inputs, with what differs.
        """
        file = resume or self.file
        if not file.exists():
            if resume:
                raise UserError(f"{resume} is missing; name a checkpoint that is there, or leave --resume out")
            return TrainState(), 0.0
        train_state, seconds = self._read(learner, file)
        print(f"going on from image {train_state.n_images:,} ({file})", flush=True)
        return train_state, seconds

    def load_best(self, learner: Learner) -> TrainState:
        """Puts the learner back to its best moment."""
        return self._read(learner, self.best)[0]

    def _read(self, learner: Learner, file: Path) -> tuple[TrainState, float]:
        tensors, about = load_tensors(file)
        if about["inputs"] != self._about:
            changed = ", ".join(_differences(about["inputs"], self._about))
            raise UserError(f"{file} is of another training: {changed}; leave --resume out to start anew")
        load_networks(learner.networks, tensors)
        load_optimisers(learner.optimisers, tensors)
        window = tensors["window"].to(learner.mode.device) if "window" in tensors else ()
        return TrainState(about["n_images"], json.loads(about["rows"]), [*window], about["alarms"]), about["seconds"]


def _lock(folder: Path) -> FileLock:
    """The lock of a key, beside its folder: in it, pruning would take the lock from whoever waits for it."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(folder.with_suffix(".lock"))


def _last_use(inputs: Path) -> float:
    """When a training of that key began or ended last; 0 where another process has pruned it by now."""
    try:
        return inputs.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _prune(folder: Path) -> None:
    """Removes a key's folder, unless a training holds the key."""
    lock = _lock(folder)
    try:
        with lock.acquire(blocking=False):
            remove(folder)
    except Timeout:
        print(f"{folder} is in use, so it stays", flush=True)


def _differences(old: dict[str, Any], new: dict[str, Any]) -> Iterator[str]:
    """Paths whose values differ, as `params.train_gan.batch: 64 -> 32`."""
    for name in sorted(old.keys() | new.keys()):
        before, after = old.get(name), new.get(name)
        if isinstance(before, dict) and isinstance(after, dict):
            yield from (f"{name}.{change}" for change in _differences(before, after))
        elif before != after:
            yield f"{name}: {_short(before)} -> {_short(after)}"


def _short(value: object) -> str:
    text = str(value)
    return f"{text[:8]}…" if len(text) == 64 else text
