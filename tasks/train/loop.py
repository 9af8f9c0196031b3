"""A training as a stage: resumed from its checkpoint or new, with progress, curves, rollbacks and stop conditions."""

import argparse
import csv
import io
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from pydantic import BaseModel
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from models.settings import Choice, LearnerSettings
from models.training.device import Mode
from models.training.engine import DivergedError, TrainState, crossed, fit, stop_reason
from models.training.learner import Learner, Row, num_conditional_labels
from models.training.loaders import Loader, make_loader
from models.training.random import Sampler
from models.training.steps import make_step
from tasks.common.cli import Progress, run_stage
from tasks.common.errors import UserError
from tasks.common.files import digest, write_bytes
from tasks.common.inputs import Inputs
from tasks.common.params import Params
from tasks.common.paths import work_folder
from tasks.common.runtime import StopSignals, lock_device, trained_with
from tasks.common.tensors import save_tensors
from tasks.preprocess.dataset import Prepared, Split
from tasks.train.checkpoints import Checkpoints
from tasks.train.previews import MakePreview, Previews

WALL_CLOCK = "wall clock"
WEIGHTS, CURVES = Path("data/weights"), Path("data/curves")


@dataclass
class Steps:
    """How a stage's training steps run: as the mode asks, or, for the listed causes, not captured as CUDA graphs."""

    stage: str
    mode: Mode
    threads: int
    causes: list[str] = field(default_factory=list)  # for steps that are not captured

    def fall_back(self, cause: str) -> None:
        """Records and prints why steps are not captured."""
        self.causes.append(cause)
        print(f"{self.stage}: {self.warning}", flush=True)

    @property
    def warning(self) -> str:
        """A sentence where captured steps were asked for and not possible, else empty."""
        if not self.causes:
            return ""
        return f"steps are not captured as CUDA graphs, so they run slower; the first cause: {self.causes[0]}"

    def trained_with(self) -> dict[str, object]:
        """Returns the device, mode, threads and libraries that the header of the weights names."""
        return trained_with(replace(self.mode, captured=self.mode.captured and not self.causes), self.threads)


@dataclass
class Training:
    """A finished training: its state, why it stopped, and its speed."""

    train_state: TrainState
    reason: str
    images_per_second: float
    stop: StopSignals
    steps: Steps

    def facts(self) -> dict[str, object]:
        """Returns what the receipt keeps."""
        facts: dict[str, object] = {"n_images": self.train_state.n_images, "stopped_by": self.reason}
        facts["images_per_second"] = round(self.images_per_second)
        if self.train_state.rollback_reasons:
            facts["rolled_back"] = "; ".join(self.train_state.rollback_reasons)
        wall_clock = "stopped by the wall clock: not reproducible" if self.reason == WALL_CLOCK else ""
        if warnings := "; ".join(filter(None, [wall_clock, self.steps.warning])):
            facts["warning"] = warnings
        return facts | self.steps.trained_with()


def label_count(setting: Choice, prepared: Prepared) -> int:
    """Returns how many labels condition the model, 0 for none; raises UserError where the data lacks them."""
    try:
        count = num_conditional_labels(setting, prepared.train_counts)
    except ValueError as error:
        raise UserError(f"params.yaml: {error}") from None
    print(f"conditional: {f'on {count} labels' if count else 'no'}", flush=True)
    return count


def run_training(stage: str, main: Callable[[Params, Path | None], Mapping[str, object]]) -> None:
    """Runs a training stage as a command; `main` gets the checkpoint that `--resume PATH` names."""
    parser = argparse.ArgumentParser(description="Trains, from the checkpoint of the same inputs if there is one.")
    help_text = "continue from this checkpoint; an error if its inputs differ"
    parser.add_argument("--resume", type=Path, metavar="PATH", help=help_text)
    resume: Path | None = parser.parse_args().resume
    run_stage(stage, lambda params: main(params, resume))


@contextmanager
def trained(
    stage: str,
    learner: Learner,
    prepared: Prepared,
    inputs: Inputs,
    params: Params,
    resume: Path | None = None,
    preview: MakePreview | None = None,
) -> Iterator[Training]:
    """Trains with the device and the checkpoint's key locked, then runs the block, which writes the outputs.

    Training continues from `resume`, or from the checkpoint of these inputs if there is one. `preview` makes the
    picture that the UI shows meanwhile. SIGINT and SIGTERM save a checkpoint and end the process. Raises UserError when
    the training diverges more often than `rollbacks` allows, when the device runs out of memory, and when the
    checkpoint `resume` was made with other inputs.
    """
    steps = Steps(stage, learner.mode, params.threads)
    checkpoints = Checkpoints(stage, inputs, steps.trained_with())
    device, settings = learner.mode.device, learner.settings
    with checkpoints.held(), lock_device(device), StopSignals() as stop, memory_errors(stage, settings):
        train, validation = prepared.split("train"), prepared.split("validation")
        loader = make_loader(train, Sampler(len(train), settings.seed), device, params.device_share)
        print(f"{stage}: {loader.description}", flush=True)
        yield _Run(steps, learner, loader, validation, checkpoints, stop, Previews(preview)).train(resume)


@dataclass
class _Run:
    """One training in segments: where one diverges, the next starts from the best state at lower learning rates."""

    steps: Steps
    learner: Learner
    loader: Loader
    validation: Split
    checkpoints: Checkpoints
    stop: StopSignals
    previews: Previews

    def train(self, resume: Path | None) -> Training:
        """Trains until a stop condition holds, with a rollback after each divergence."""
        train_state, seconds = self.checkpoints.load(self.learner, resume)
        self._start = time.perf_counter() - seconds
        if not (train_state.n_images and self.checkpoints.best.exists()):
            self.checkpoints.save_best(self.learner, train_state, seconds)
        while True:
            try:
                reason = self._segment(train_state)
                break
            except DivergedError as error:
                train_state = self._roll_back(train_state, str(error))
        self.previews.refresh(last=True)
        print(f"{self.steps.stage}: stopped by {reason} after {train_state.n_images:,} images", flush=True)
        return Training(train_state, reason, train_state.n_images / max(self._seconds, 1e-9), self.stop, self.steps)

    @property
    def _seconds(self) -> float:
        return time.perf_counter() - self._start

    def _segment(self, train_state: TrainState) -> str:
        """Trains until a stop condition holds and returns its name; raises DivergedError."""
        learner, settings, first = self.learner, self.learner.settings, train_state.n_images
        folder = work_folder() / "tensorboard" / self.steps.stage / self.checkpoints.key[:8]
        written, saved = len(train_state.rows), first
        progress = Progress(settings.stop.n_images, self.steps.stage, done=first)
        with SummaryWriter(folder, purge_step=first) as board, progress as shown:
            step = make_step(learner, self.steps.fall_back)
            for _ in fit(learner, step, self.loader, self.validation, train_state):
                shown.advance(settings.batch, **(_values(train_state.rows[-1]) if train_state.rows else {}))
                self.previews.refresh()
                if len(train_state.rows) > written:
                    written = len(train_state.rows)
                    self._row_closed(train_state, board)
                if self.stop.received or crossed(saved, train_state.n_images, settings.checkpoint_every):
                    self._save(train_state)
                    saved = train_state.n_images
                self.stop.check()
                if settings.stop.max_seconds and self._seconds >= settings.stop.max_seconds:
                    break
        reason = stop_reason(settings.stop, train_state) or WALL_CLOCK
        if train_state.window:  # the wall clock ended a row early
            train_state.close_row(learner, None)
        if saved != train_state.n_images:
            self._save(train_state)
        return reason

    def _row_closed(self, train_state: TrainState, board: SummaryWriter) -> None:
        row = train_state.rows[-1]
        for name, value in _values(row).items():
            board.add_scalar(name, value, int(row["n_images"] or 0))
        if row["probe"] is not None and row["probe"] <= min(train_state.probes):
            self.checkpoints.save_best(self.learner, train_state, self._seconds)

    def _save(self, train_state: TrainState) -> None:
        self.checkpoints.save(self.learner, train_state, self._seconds)

    def _roll_back(self, diverged: TrainState, reason: str) -> TrainState:
        """Restores the best state at lower learning rates; raises UserError when no rollback is left."""
        train_state, earlier = self.checkpoints.load_best(self.learner), diverged.rollback_reasons
        train_state.rollback_reasons = [*earlier, reason]
        if len(train_state.rollback_reasons) > self.learner.settings.rollbacks:
            after = f", after {len(earlier)} rollback{'s' if len(earlier) > 1 else ''}" if earlier else ""
            raise UserError(
                f"{self.steps.stage} failed: {reason}{after}; lower its learning rate in params.yaml (the "
                f"best weights, after {train_state.n_images:,} images, are kept in {self.checkpoints.best})"
            )
        restored = f"image {train_state.n_images:,}, with {train_state.lr_scale:g} x the learning rates"
        print(f"{self.steps.stage}: {reason}; rolled back to {restored}", flush=True)
        self._save(train_state)
        return train_state


@contextmanager
def memory_errors(stage: str, settings: LearnerSettings) -> Iterator[None]:
    """Turns an out-of-memory error of the device into a UserError that names the parameters to lower."""
    try:
        yield
    except torch.OutOfMemoryError:
        batch = settings.micro_batch or settings.batch
        smaller = f"set {stage}.micro_batch to {batch // 2}, which takes longer and gives the same result, or "
        raise UserError(
            f"{stage} ran out of GPU memory with {batch} images per forward pass; in params.yaml, "
            f"{smaller if batch > 1 else ''}lower {stage}.channels, or device_share, the share of the memory for the "
            "training images"
        ) from None


def write_result(
    model: str, tensors: Mapping[str, Tensor], config: BaseModel, inputs: Inputs, prepared: Prepared, training: Training
) -> None:
    """Writes data/weights/MODEL, whose header has the configuration and the origin, and data/curves/MODEL.csv."""
    hashes = {"data": prepared.hash, "code": digest(inputs.code), "params": digest(inputs.params)}
    about = {"model": model, "shape": config.model_dump(), "labels": list(prepared.manifest.labels), "hashes": hashes}
    about["trained_with"] = training.steps.trained_with()
    save_tensors(WEIGHTS / model / "weights.safetensors", tensors, about)
    _write_curves(CURVES / f"{model}.csv", training.train_state.rows)


def _write_curves(path: Path, rows: Sequence[Row]) -> None:
    """Writes the curves as CSV: one row per `log_every` images, with empty cells where no probe was taken."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(
        {name: f"{value:.6g}" if isinstance(value, float) else value for name, value in row.items()} for row in rows
    )
    write_bytes(path, text.getvalue().encode())


def _values(row: Row) -> dict[str, float]:
    """Returns the values of a row by name, without the number of images and those that were not measured."""
    return {name: value for name, value in row.items() if value is not None and name != "n_images"}
