"""A training as a stage runs it: from its checkpoint or from nothing, with progress, curves and a reason to stop."""

import argparse
import csv
import io
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import BaseModel
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from models.engine import AlarmError, Clock, crossed, fit, stop_reason
from models.feeds import make_feed
from models.learners.base import Learner, Row, told_labels
from models.settings import Choice, LearnerSettings
from models.steps import make_step
from models.streams import Sampler
from tasks.checkpoints import Checkpoints
from tasks.console import Progress
from tasks.errors import UserError
from tasks.files import digest, write_bytes
from tasks.inputs import Inputs
from tasks.params import load_params
from tasks.prepared import Prepared
from tasks.runtime import StopSignals, turn_on
from tasks.sketches import Draw, Sketches
from tasks.weights import save_tensors
from tasks.workplace import work_folder

WALL_CLOCK = "wall clock"
WEIGHTS, CURVES = Path("data/weights"), Path("data/curves")


@dataclass
class Training:
    """How a training went."""

    clock: Clock
    reason: str
    images_per_second: float
    stop: StopSignals

    def facts(self) -> dict[str, object]:
        """For the receipt."""
        facts: dict[str, object] = {"n_images": self.clock.n_images, "stopped_by": self.reason}
        facts["images_per_second"] = round(self.images_per_second)
        if self.clock.alarms:
            facts["set_back"] = "; ".join(self.clock.alarms)
        if self.reason == WALL_CLOCK:
            facts["warning"] = "stopped by the wall clock: not reproducible"
        return facts


def label_count(asked: Choice, prepared: Prepared) -> int:
    """How many labels the generator is told, 0 for none; raises UserError where that cannot be as asked."""
    try:
        count = told_labels(asked, prepared.train_counts)
    except ValueError as error:
        raise UserError(f"params.yaml: {error}") from None
    print(f"labels told: {count or 'none'}", flush=True)
    return count


def resume_argument() -> Path | None:
    """`--resume PATH` on the command line of a stage that trains."""
    parser = argparse.ArgumentParser(description="Trains from the checkpoint of these inputs, or from nothing.")
    parser.add_argument("--resume", type=Path, metavar="PATH", help="go on from this checkpoint, or refuse")
    resume: Path | None = parser.parse_args().resume
    return resume


@contextmanager
def trained(
    stage: str, learner: Learner, prepared: Prepared, inputs: Inputs, sketch: Draw | None = None
) -> Iterator[Training]:
    """Trains to the end while holding the device and the checkpoint's key, then runs the block that writes outputs.

    `sketch` draws what whoever watches is shown. SIGINT and SIGTERM save a checkpoint and end the process. Raises
    UserError when the training goes wrong more often than it may be set back, when the device's memory does not
    suffice, and for a `--resume` that does not fit.
    """
    resume, checkpoints = resume_argument(), Checkpoints(stage, inputs, learner.mode)
    with (
        checkpoints.held(),
        turn_on(learner.mode.device),
        StopSignals() as stop,
        memory_errors(stage, learner.settings),
    ):
        yield _Run(stage, learner, prepared, checkpoints, stop, sketch).train(resume)


class _Run:
    """One training: segments of it, where an alarm ends one and the next begins at the best moment, more slowly."""

    def __init__(
        self,
        stage: str,
        learner: Learner,
        prepared: Prepared,
        checkpoints: Checkpoints,
        stop: StopSignals,
        sketch: Draw | None,
    ) -> None:
        self._stage, self._learner, self._checkpoints, self._stop = stage, learner, checkpoints, stop
        train, self._validation = prepared.split("train"), prepared.split("validation")
        share = load_params().device_share
        self._sketches = Sketches(sketch)
        self._feed = make_feed(train, Sampler(len(train), learner.settings.seed), learner.mode.device, share)
        print(f"{stage}: {self._feed.place}", flush=True)

    def train(self, resume: Path | None) -> Training:
        """Trains to the end, from the checkpoint, the one at `resume`, or nothing."""
        clock, seconds = self._checkpoints.load(self._learner, resume)
        self._start = time.perf_counter() - seconds
        if not (clock.n_images and self._checkpoints.best.exists()):
            self._checkpoints.save_best(self._learner, clock, seconds)
        while True:
            try:
                reason = self._segment(clock)
                break
            except AlarmError as alarm:
                clock = self._set_back(clock, str(alarm))
        self._sketches.refresh(last=True)
        print(f"{self._stage}: stopped by {reason} after {clock.n_images:,} images", flush=True)
        return Training(clock, reason, clock.n_images / max(self._seconds, 1e-9), self._stop)

    @property
    def _seconds(self) -> float:
        return time.perf_counter() - self._start

    def _segment(self, clock: Clock) -> str:
        """Trains until something ends it, and says what; raises AlarmError."""
        learner, settings, first = self._learner, self._learner.settings, clock.n_images
        board = SummaryWriter(work_folder() / "tensorboard" / self._stage / self._checkpoints.key[:8], purge_step=first)
        written, saved = len(clock.rows), first
        with board, Progress(settings.stop.n_images, self._stage, done=first) as shown:
            for _ in fit(learner, make_step(learner), self._feed, self._validation, clock):
                shown.advance(settings.batch, **_latest(clock))
                self._sketches.refresh()
                if len(clock.rows) > written:
                    written = len(clock.rows)
                    self._row_closed(clock, board)
                if self._stop.came or crossed(saved, clock.n_images, settings.checkpoint_every):
                    self._save(clock)
                    saved = clock.n_images
                self._stop.check()
                if settings.stop.max_seconds and self._seconds >= settings.stop.max_seconds:
                    break
        reason = stop_reason(settings.stop, clock) or WALL_CLOCK
        if clock.window:  # the wall clock ended a row early
            clock.close_row(learner, None)
        if saved != clock.n_images:
            self._save(clock)
        return reason

    def _row_closed(self, clock: Clock, board: SummaryWriter) -> None:
        row = clock.rows[-1]
        _to_board(board, row)
        if row["probe"] is not None and row["probe"] <= min(clock.probes):
            self._checkpoints.save_best(self._learner, clock, self._seconds)

    def _save(self, clock: Clock) -> None:
        self._checkpoints.save(self._learner, clock, self._seconds)

    def _set_back(self, ill: Clock, alarm: str) -> Clock:
        """Back to the best moment, at a lower rate; raises UserError when that was done often enough."""
        clock = self._checkpoints.load_best(self._learner)
        clock.alarms = [*ill.alarms, alarm]
        if len(clock.alarms) > self._learner.settings.rollbacks:
            after = f", after going back {len(ill.alarms)} x to lower rates" if ill.alarms else ""
            raise UserError(
                f"{self._stage} failed: {alarm}{after}; lower its learning rate in params.yaml (the best weights, of "
                f"image {clock.n_images:,}, are kept in {self._checkpoints.best})"
            )
        print(f"{self._stage}: {alarm}; back to image {clock.n_images:,}, {clock.slower:g} x the rates", flush=True)
        self._save(clock)
        return clock


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
    model: str, tensors: Mapping[str, Tensor], shape: BaseModel, inputs: Inputs, prepared: Prepared, clock: Clock
) -> None:
    """Writes data/weights/MODEL, whose header says what the weights fit and came from, and data/curves/MODEL.csv."""
    hashes = {"data": prepared.hash, "code": digest(inputs.code), "params": digest(inputs.params)}
    about = {"model": model, "shape": shape.model_dump(), "labels": list(prepared.manifest.labels), "hashes": hashes}
    save_tensors(WEIGHTS / model / "weights.safetensors", tensors, about)
    _write_curves(CURVES / f"{model}.csv", clock.rows)


def _write_curves(path: Path, rows: Sequence[Row]) -> None:
    """The losses as CSV: one row per `log_every` images, empty where the probe was not taken."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _figure(value) for name, value in row.items()} for row in rows)
    write_bytes(path, text.getvalue().encode())


def _figure(value: float | None) -> object:
    return "" if value is None else value if isinstance(value, int) else f"{value:.6g}"


def _latest(clock: Clock) -> dict[str, float]:
    row = clock.rows[-1] if clock.rows else {}
    return {name: value for name, value in row.items() if value is not None and name != "n_images"}


def _to_board(board: SummaryWriter, row: Row) -> None:
    for name, value in row.items():
        if value is not None and name != "n_images":
            board.add_scalar(name, value, int(row["n_images"] or 0))
