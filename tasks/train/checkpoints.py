"""Checkpoints of interrupted trainings, outside DVC's outputs: one folder under `.work` per key."""

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

KEPT = 3  # folders per stage; older unused ones are removed when a run with a new key starts
INPUTS = "inputs.json"  # in each folder: what its key is the hash of; its modification time is that of the last use


class Checkpoints:
    """The checkpoint of one stage for one key: the declared inputs, device, mode, threads and libraries."""

    def __init__(self, stage: str, inputs: Inputs, trained_with: Mapping[str, object]) -> None:
        self._about = asdict(inputs) | {"trained_with": dict(trained_with)}
        self.key = digest(self._about)
        self.folder = work_folder() / "checkpoints" / stage / self.key[:16]
        self.file, self.best = self.folder / "checkpoint.safetensors", self.folder / "best.safetensors"

    @contextmanager
    def held(self) -> Iterator[None]:
        """Holds the lock of the key: a second training of the same key waits, and then finds the finished result."""
        with _lock(self.folder):
            if not (self.folder / INPUTS).exists():
                self._begin()
            os.utime(self.folder / INPUTS)
            yield
            os.utime(self.folder / INPUTS)

    def _begin(self) -> None:
        others = sorted(self.folder.parent.glob(f"*/{INPUTS}"), key=_last_use, reverse=True)
        if others:
            changed = ", ".join(_differences(read_json(others[0]), self._about))
            print(f"training from the start, because these inputs changed: {changed}", flush=True)
        for old in others[KEPT - 1 :]:
            _prune(old.parent)
        self.folder.mkdir(parents=True, exist_ok=True)
        write_json(self.folder / INPUTS, self._about)

    def save(self, learner: Learner, train_state: TrainState, seconds: float, file: Path | None = None) -> None:
        """Writes the checkpoint, or `file`: the state of the training, the curves and the seconds so far."""
        window = {"window": torch.stack(train_state.window)} if train_state.window else {}
        tensors = network_tensors(learner.networks) | optimiser_tensors(learner.optimisers) | window
        about = {"n_images": train_state.n_images, "rows": json.dumps(train_state.rows), "seconds": seconds}
        about |= {"rollback_reasons": train_state.rollback_reasons, "inputs": self._about}
        save_tensors(file or self.file, tensors, about)

    def save_best(self, learner: Learner, train_state: TrainState, seconds: float) -> None:
        """Saves the best state so far, for a rollback, beside the checkpoint."""
        self.save(learner, train_state, seconds, self.best)

    def load(self, learner: Learner, resume: Path | None = None) -> tuple[TrainState, float]:
        """Restores the learner from the checkpoint or from `resume`; returns the state and the seconds so far.

        Without a checkpoint, both are those of a new training. Raises UserError when it is damaged, and when `resume`
        is missing or of other inputs, which it names.
        """
        file = resume or self.file
        if not file.exists():
            if resume:
                raise UserError(f"{resume} does not exist; name an existing checkpoint, or leave --resume out")
            return TrainState(), 0.0
        train_state, seconds = self._read(learner, file)
        print(f"resuming from image {train_state.n_images:,} ({file})", flush=True)
        return train_state, seconds

    def load_best(self, learner: Learner) -> TrainState:
        """Restores the best state."""
        return self._read(learner, self.best)[0]

    def _read(self, learner: Learner, file: Path) -> tuple[TrainState, float]:
        tensors, about = load_tensors(file)
        if about["inputs"] != self._about:
            changed = ", ".join(_differences(about["inputs"], self._about))
            raise UserError(
                f"{file} is from a training with other inputs: {changed}; leave --resume out to train from the start"
            )
        load_networks(learner.networks, tensors)
        load_optimisers(learner.optimisers, tensors)
        window = tensors["window"].to(learner.mode.device) if "window" in tensors else ()
        rows, reasons = json.loads(about["rows"]), about["rollback_reasons"]
        return TrainState(about["n_images"], rows, [*window], reasons), about["seconds"]


def _lock(folder: Path) -> FileLock:
    """Returns the lock of a key; it lies beside the folder, so that pruning the folder does not remove it."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(folder.with_suffix(".lock"))


def _last_use(inputs: Path) -> float:
    """Returns when a training of that key last began or ended; 0 if another process has removed it."""
    try:
        return inputs.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _prune(folder: Path) -> None:
    """Removes a key's folder unless a training holds its lock."""
    lock = _lock(folder)
    try:
        with lock.acquire(blocking=False):
            remove(folder)
    except Timeout:
        print(f"{folder} is in use and was not removed", flush=True)


def _differences(old: dict[str, Any], new: dict[str, Any]) -> Iterator[str]:
    """Yields values that differ, such as `params.train_gan.batch: 64 -> 32`."""
    for name in sorted(old.keys() | new.keys()):
        before, after = old.get(name), new.get(name)
        if isinstance(before, dict) and isinstance(after, dict):
            yield from (f"{name}.{change}" for change in _differences(before, after))
        elif before != after:
            old_text, new_text = (f"{text[:8]}…" if len(text) == 64 else text for text in (str(before), str(after)))
            yield f"{name}: {old_text} -> {new_text}"
