"""Checkpoints outside DVC's outputs, so that an interrupted training goes on: one folder per key under `.work`."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock

from models.device import Mode
from models.engine import Clock
from models.learners.base import Learner
from models.state import load_networks, load_optimisers, network_tensors, optimiser_tensors
from tasks.errors import UserError
from tasks.files import digest, read_json, remove, write_json
from tasks.inputs import Inputs
from tasks.weights import load_tensors, save_tensors
from tasks.workplace import work_folder

KEPT = 3  # folders per stage; older ones are pruned when a run with a new key starts


class Checkpoints:
    """The checkpoint of one stage under one key: declared inputs, and the mode, which shapes the bits as well."""

    def __init__(self, stage: str, inputs: Inputs, mode: Mode) -> None:
        self._about = asdict(inputs) | {"mode": mode.name, "torch": torch.__version__}
        self.key = digest(self._about)
        self.folder = work_folder() / "checkpoints" / stage / self.key[:16]
        self.file, self.best = self.folder / "checkpoint.safetensors", self.folder / "best.safetensors"

    @contextmanager
    def held(self) -> Iterator[None]:
        """Holds the key: a second trainer waits here and then finds the finished result."""
        known = self.folder.exists()
        self.folder.mkdir(parents=True, exist_ok=True)
        with FileLock(self.folder / "lock"):
            if not known:
                self._begin()
            yield

    def _begin(self) -> None:
        others = sorted(self.folder.parent.glob("*/inputs.json"), key=lambda path: path.stat().st_mtime, reverse=True)
        if others:
            changed = ", ".join(_differences(read_json(others[0]), self._about))
            print(f"starting afresh: since the last training changed {changed}", flush=True)
        for old in others[KEPT - 1 :]:
            remove(old.parent)
        write_json(self.folder / "inputs.json", self._about)

    def save(self, learner: Learner, clock: Clock, seconds: float, file: Path | None = None) -> None:
        """Replaces the checkpoint, or `file`: all that shapes the next step, the curves, and the seconds so far."""
        window = {"window": torch.stack(clock.window)} if clock.window else {}
        tensors = network_tensors(learner.networks) | optimiser_tensors(learner.optimisers) | window
        about = {"n_images": clock.n_images, "rows": json.dumps(clock.rows), "alarms": clock.alarms}
        save_tensors(file or self.file, tensors, about | {"seconds": seconds, "inputs": self._about})

    def save_best(self, learner: Learner, clock: Clock, seconds: float) -> None:
        """Keeps this moment beside the checkpoint: the best so far, to go back to when the training goes wrong."""
        self.save(learner, clock, seconds, self.best)

    def load(self, learner: Learner, resume: Path | None = None) -> tuple[Clock, float]:
        """Puts the learner where the checkpoint, or the one at `resume`, stands; without one, a clock at 0.

        Raises UserError when it is damaged, or when `resume` belongs to other inputs, with what differs.
        """
        file = resume or self.file
        if not file.exists() and not resume:
            return Clock(), 0.0
        clock, seconds = self._read(learner, file)
        print(f"going on from image {clock.n_images:,} ({file})", flush=True)
        return clock, seconds

    def load_best(self, learner: Learner) -> Clock:
        """Puts the learner back to its best moment."""
        return self._read(learner, self.best)[0]

    def _read(self, learner: Learner, file: Path) -> tuple[Clock, float]:
        tensors, about = load_tensors(file)
        if about["inputs"] != self._about:
            changed = ", ".join(_differences(about["inputs"], self._about))
            raise UserError(f"{file} is of another training: {changed}; leave --resume out to start anew")
        load_networks(learner.networks, tensors)
        load_optimisers(learner.optimisers, tensors)
        window = tensors["window"].to(learner.mode.device) if "window" in tensors else ()
        return Clock(about["n_images"], json.loads(about["rows"]), [*window], about["alarms"]), about["seconds"]


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
