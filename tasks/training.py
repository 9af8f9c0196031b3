"""A training as a stage runs it: from its checkpoint or from nothing, with progress, curves and a reason to stop."""

import csv
import io
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from models.engine import Clock, DivergedError, Row, crossed, fit, stop_reason
from models.learners.base import Learner
from tasks.checkpoints import Checkpoints
from tasks.console import Progress
from tasks.errors import UserError
from tasks.files import digest, write_bytes
from tasks.inputs import Inputs
from tasks.prepared import Prepared
from tasks.runtime import StopSignals, turn_on
from tasks.weights import save_tensors
from tasks.workplace import work_folder

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
        if self.reason == "wall clock":
            facts["warning"] = "stopped by the wall clock: not reproducible"
        return facts


@contextmanager
def trained(stage: str, learner: Learner, prepared: Prepared, inputs: Inputs) -> Iterator[Training]:
    """Trains to the end while holding the device and the checkpoint's key, then runs the block that writes outputs.

    SIGINT and SIGTERM save a checkpoint and end the process. Raises UserError when the losses stop being finite.
    """
    checkpoints = Checkpoints(stage, inputs, learner.mode)
    with checkpoints.held(), turn_on(learner.mode.device), StopSignals() as stop:
        try:
            yield _train(stage, learner, prepared, checkpoints, stop)
        except DivergedError as error:
            raise UserError(
                f"{stage} failed: {error}; lower its learning rate in params.yaml (the last checkpoint is kept)"
            ) from None


def _train(stage: str, learner: Learner, prepared: Prepared, checkpoints: Checkpoints, stop: StopSignals) -> Training:
    train, validation, settings = prepared.split("train"), prepared.split("validation"), learner.settings
    clock, seconds = checkpoints.load(learner)
    first, start = clock.n_images, time.perf_counter() - seconds
    board = SummaryWriter(work_folder() / "tensorboard" / stage / checkpoints.key[:8], purge_step=first)
    written, reason, saved = len(clock.rows), None, first
    with board, Progress(settings.stop.n_images, stage, done=first) as shown:
        for _ in fit(learner, train, validation, clock):
            shown.advance(settings.batch, **_latest(clock))
            for row in clock.rows[written:]:
                _to_board(board, row)
            written, seconds = len(clock.rows), time.perf_counter() - start
            if stop.came or crossed(saved, clock.n_images, settings.checkpoint_every):
                checkpoints.save(learner, clock, seconds)
                saved = clock.n_images
            stop.check()
            if settings.stop.max_seconds and seconds >= settings.stop.max_seconds:
                reason = "wall clock"
                break
    reason = reason or stop_reason(settings.stop, clock) or "n_images"
    if clock.steps:  # the wall clock ended a row early
        clock.close_row(None)
    if saved != clock.n_images:
        checkpoints.save(learner, clock, seconds)
    print(f"{stage}: stopped by {reason} after {clock.n_images:,} images", flush=True)
    return Training(clock, reason, clock.n_images / max(seconds, 1e-9), stop)


def write_result(
    model: str, tensors: Mapping[str, Tensor], shape: BaseModel, inputs: Inputs, prepared: Prepared, clock: Clock
) -> None:
    """Writes data/weights/MODEL, whose header says what the weights fit and came from, and data/curves/MODEL.csv."""
    hashes = {"data": prepared.hash, "code": digest(inputs.code), "params": digest(inputs.params)}
    about = {"model": model, "shape": shape.model_dump(), "labels": list(prepared.manifest.labels), "hashes": hashes}
    save_tensors(WEIGHTS / model / "weights.safetensors", tensors, about)
    _write_curves(CURVES / f"{model}.csv", clock.rows)


def _write_curves(path: Path, rows: list[Row]) -> None:
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
