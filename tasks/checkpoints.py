"""Checkpoints outside DVC's outputs, so that an interrupted training goes on: one folder per key under `.work`."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import torch
from filelock import FileLock

from models.device import Mode
from models.engine import Clock
from models.learners.base import Learner
from models.state import load_networks, load_optimisers, network_tensors, optimiser_tensors
from tasks.files import digest, read_json, remove, write_json
from tasks.inputs import Inputs
from tasks.weights import below, load_tensors, save_tensors
from tasks.workplace import work_folder

KEPT = 3  # folders per stage; older ones are pruned when a run with a new key starts


class Checkpoints:
    """The checkpoint of one stage under one key: declared inputs, and the mode, which shapes the bits as well."""

    def __init__(self, stage: str, inputs: Inputs, mode: Mode) -> None:
        self._about = asdict(inputs) | {"mode": mode.name, "torch": torch.__version__}
        self.key = digest(self._about)
        self.folder = work_folder() / "checkpoints" / stage / self.key[:16]
        self.file = self.folder / "checkpoint.safetensors"

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

    def save(self, learner: Learner, clock: Clock, seconds: float) -> None:
        """Replaces the checkpoint: all that shapes the next step, the curves, and the seconds spent so far."""
        window = {f"window.{name}": value for name, value in clock.sums.items()}
        tensors = network_tensors(learner.networks) | optimiser_tensors(learner.optimisers) | window
        about = {"n_images": clock.n_images, "steps": clock.steps, "rows": json.dumps(clock.rows), "seconds": seconds}
        save_tensors(self.file, tensors, about)

    def load(self, learner: Learner) -> tuple[Clock, float]:
        """Puts the learner where the checkpoint stands; without one, a clock at 0. Raises UserError if damaged."""
        if not self.file.exists():
            return Clock(), 0.0
        tensors, about = load_tensors(self.file)
        load_networks(learner.networks, tensors)
        load_optimisers(learner.optimisers, tensors)
        sums = {name: value.to(learner.mode.device) for name, value in below(tensors, "window").items()}
        clock = Clock(about["n_images"], json.loads(about["rows"]), sums, about["steps"])
        print(f"going on from image {clock.n_images:,} ({self.file})", flush=True)
        return clock, about["seconds"]


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
