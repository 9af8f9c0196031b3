"""A training as a stage runs it: from its checkpoint or from nothing, with progress, curves and a reason to stop."""

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
from models.training.loaders import make_loader
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
from tasks.preprocess.dataset import Prepared
from tasks.train.checkpoints import Checkpoints
from tasks.train.previews import Draw, Previews

WALL_CLOCK = "wall clock"
WEIGHTS, CURVES = Path("data/weights"), Path("data/curves")


@dataclass
class Steps:
    """How a stage's steps really run, whatever the mode asks for."""

    stage: str
    mode: Mode
    threads: int
    causes: list[str] = field(default_factory=list)  # why some are not captured

    def fall_back(self, cause: str) -> None:
        """Takes note that steps are not captured, and says so."""
        self.causes.append(cause)
        print(f"{self.stage}: {self.warning}", flush=True)

    @property
    def warning(self) -> str:
        """A sentence where steps were to be captured and are not, else nothing."""
        if not self.causes:
            return ""
        return f"steps are not captured as CUDA graphs, so they run slower; the first cause: {self.causes[0]}"

    def trained_with(self) -> dict[str, object]:
        """For the header of the weights."""
        really = replace(self.mode, captured=self.mode.captured and not self.causes)
        return trained_with(really, self.threads)


@dataclass
class Training:
    """How a training went."""

    train_state: TrainState
    reason: str
    images_per_second: float
    stop: StopSignals
    steps: Steps

    def facts(self) -> dict[str, object]:
        """For the receipt."""
        facts: dict[str, object] = {"n_images": self.train_state.n_images, "stopped_by": self.reason}
        facts["images_per_second"] = round(self.images_per_second)
        if self.train_state.rollback_reasons:
            facts["set_back"] = "; ".join(self.train_state.rollback_reasons)
        wall_clock = "stopped by the wall clock: not reproducible" if self.reason == WALL_CLOCK else ""
        if warnings := "; ".join(filter(None, [wall_clock, self.steps.warning])):
            facts["warning"] = warnings
        return facts | self.steps.trained_with()


def label_count(asked: Choice, prepared: Prepared) -> int:
    """How many labels the generator is told, 0 for none; raises UserError where that cannot be as asked."""
    try:
        count = num_conditional_labels(asked, prepared.train_counts)
    except ValueError as error:
        raise UserError(f"params.yaml: {error}") from None
    print(f"labels told: {count or 'none'}", flush=True)
    return count


def run_training(stage: str, main: Callable[[Params, Path | None], Mapping[str, object]]) -> None:
    """Runs a stage that trains as a command; `--resume PATH` is the checkpoint that `main` is given."""
    parser = argparse.ArgumentParser(description="Trains from the checkpoint of these inputs, or from nothing.")
    parser.add_argument("--resume", type=Path, metavar="PATH", help="go on from this checkpoint, or refuse")
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
    preview: Draw | None = None,
) -> Iterator[Training]:
    """Trains to the end while holding the device and the checkpoint's key, then runs the block that writes outputs.

    From the checkpoint of these inputs, or the one at `resume`, or nothing. `preview` draws what whoever watches is
    shown. SIGINT and SIGTERM save a checkpoint and end the process. Raises UserError when the training goes wrong more
    often than it may be set back, when the device's memory does not suffice, and for a `resume` that does not fit.
    """
    steps = Steps(stage, learner.mode, params.threads)
    checkpoints = Checkpoints(stage, inputs, steps.trained_with())
    with (
        checkpoints.held(),
        lock_device(learner.mode.device),
        StopSignals() as stop,
        memory_errors(stage, learner.settings),
    ):
        yield _Run(steps, learner, prepared, params.device_share, checkpoints, stop, preview).train(resume)


class _Run:
    """One training: segments of it, where an alarm ends one and the next begins at the best moment, more slowly."""

    def __init__(
        self,
        steps: Steps,
        learner: Learner,
        prepared: Prepared,
        device_share: float,
        checkpoints: Checkpoints,
        stop: StopSignals,
        preview: Draw | None,
    ) -> None:
        self._stage, self._learner, self._checkpoints, self._stop = steps.stage, learner, checkpoints, stop
        self._steps, self._previews = steps, Previews(preview)
        train, self._validation = prepared.split("train"), prepared.split("validation")
        self._loader = make_loader(train, Sampler(len(train), learner.settings.seed), learner.mode.device, device_share)
        print(f"{self._stage}: {self._loader.description}", flush=True)

    def train(self, resume: Path | None) -> Training:
        """Trains to the end, from the checkpoint, the one at `resume`, or nothing."""
        train_state, seconds = self._checkpoints.load(self._learner, resume)
        self._start = time.perf_counter() - seconds
        if not (train_state.n_images and self._checkpoints.best.exists()):
            self._checkpoints.save_best(self._learner, train_state, seconds)
        while True:
            try:
                reason = self._segment(train_state)
                break
            except DivergedError as alarm:
                train_state = self._set_back(train_state, str(alarm))
        self._previews.refresh(last=True)
        print(f"{self._stage}: stopped by {reason} after {train_state.n_images:,} images", flush=True)
        return Training(train_state, reason, train_state.n_images / max(self._seconds, 1e-9), self._stop, self._steps)

    @property
    def _seconds(self) -> float:
        return time.perf_counter() - self._start

    def _segment(self, train_state: TrainState) -> str:
        """Trains until something ends it, and says what; raises AlarmError."""
        learner, settings, first = self._learner, self._learner.settings, train_state.n_images
        board = SummaryWriter(work_folder() / "tensorboard" / self._stage / self._checkpoints.key[:8], purge_step=first)
        written, saved = len(train_state.rows), first
        with board, Progress(settings.stop.n_images, self._stage, done=first) as shown:
            step = make_step(learner, self._steps.fall_back)
            for _ in fit(learner, step, self._loader, self._validation, train_state):
                shown.advance(settings.batch, **_latest(train_state))
                self._previews.refresh()
                if len(train_state.rows) > written:
                    written = len(train_state.rows)
                    self._row_closed(train_state, board)
                if self._stop.received or crossed(saved, train_state.n_images, settings.checkpoint_every):
                    self._save(train_state)
                    saved = train_state.n_images
                self._stop.check()
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
        _to_board(board, row)
        if row["probe"] is not None and row["probe"] <= min(train_state.probes):
            self._checkpoints.save_best(self._learner, train_state, self._seconds)

    def _save(self, train_state: TrainState) -> None:
        self._checkpoints.save(self._learner, train_state, self._seconds)

    def _set_back(self, ill: TrainState, alarm: str) -> TrainState:
        """Back to the best moment, at a lower rate; raises UserError when that was done often enough."""
        train_state = self._checkpoints.load_best(self._learner)
        train_state.rollback_reasons = [*ill.rollback_reasons, alarm]
        if len(train_state.rollback_reasons) > self._learner.settings.rollbacks:
            after = f", after going back {len(ill.rollback_reasons)} x to lower rates" if ill.rollback_reasons else ""
            raise UserError(
                f"{self._stage} failed: {alarm}{after}; lower its learning rate in params.yaml (the best weights, of "
                f"image {train_state.n_images:,}, are kept in {self._checkpoints.best})"
            )
        print(
            f"{self._stage}: {alarm}; back to image {train_state.n_images:,}, {train_state.lr_scale:g} x the rates",
            flush=True,
        )
        self._save(train_state)
        return train_state


@contextmanager
def memory_errors(stage: str, settings: LearnerSettings) -> Iterator[None]:
    """Turns a lack of device memory into a UserError that names what to lower."""
    try:
        yield
    except torch.OutOfMemoryError:
        held = settings.micro_batch or settings.batch
        less = f"set {stage}.micro_batch to {held // 2}, which takes longer and gives the same result, or "
        raise UserError(
            f"{stage} ran out of the GPU's memory with {held} images held at a time; in params.yaml, "
            f"{less if held > 1 else ''}lower {stage}.channels, or device_share, which is what the images themselves "
            "may take"
        ) from None


def write_result(
    model: str, tensors: Mapping[str, Tensor], shape: BaseModel, inputs: Inputs, prepared: Prepared, training: Training
) -> None:
    """Writes data/weights/MODEL, whose header says what the weights fit and came from, and data/curves/MODEL.csv."""
    hashes = {"data": prepared.hash, "code": digest(inputs.code), "params": digest(inputs.params)}
    about = {"model": model, "shape": shape.model_dump(), "labels": list(prepared.manifest.labels), "hashes": hashes}
    about["trained_with"] = training.steps.trained_with()
    save_tensors(WEIGHTS / model / "weights.safetensors", tensors, about)
    _write_curves(CURVES / f"{model}.csv", training.train_state.rows)


def _write_curves(path: Path, rows: Sequence[Row]) -> None:
    """The losses as CSV: one row per `log_every` images, empty where the probe was not taken."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _figure(value) for name, value in row.items()} for row in rows)
    write_bytes(path, text.getvalue().encode())


def _figure(value: float | None) -> object:
    return "" if value is None else value if isinstance(value, int) else f"{value:.6g}"


def _latest(train_state: TrainState) -> dict[str, float]:
    row = train_state.rows[-1] if train_state.rows else {}
    return {name: value for name, value in row.items() if value is not None and name != "n_images"}


def _to_board(board: SummaryWriter, row: Row) -> None:
    for name, value in row.items():
        if value is not None and name != "n_images":
            board.add_scalar(name, value, int(row["n_images"] or 0))
