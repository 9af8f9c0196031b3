"""The training loop, common to all learners.

`fit` is a generator: it gets a batch from a loader, runs one step of the learner, and yields the `TrainState`. Progress
is counted in images (`n_images`), never in time. Learning rates, the order of the images and the random numbers are
functions of `n_images` and the seed alone, so a run that resumes from a checkpoint ends with the same weights as a run
without interruption.

    train_state = TrainState()
    step = make_step(learner)
    loader = make_loader(images, Sampler(len(images), seed), device, share=0.5)
    for train_state in fit(learner, step, loader, validation, train_state):
        ...  # save checkpoints, log `train_state.rows`, or break
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import compress

import torch
from torch import Tensor

from models.settings import StopSettings
from models.training.learner import Images, Learner
from models.training.loaders import Loader
from models.training.steps import Step

ROLLBACK_LR_FACTOR = 0.5  # each rollback multiplies the learning rates by this


class DivergedError(Exception):
    """The training diverged or collapsed; the text is a clause that names the diagnostic and the image."""


@dataclass
class TrainState:
    """The state of a run besides its tensors: what a checkpoint stores of it."""

    n_images: int = 0  # training images processed so far
    rows: list[dict[str, float | None]] = field(default_factory=list)  # training curves
    window: list[Tensor] = field(default_factory=list)  # losses since the last row, float32 [L] each, on the device
    rollback_reasons: list[str] = field(default_factory=list)  # one text per rollback

    @property
    def probes(self) -> list[float]:
        """All values of the probe so far, in order."""
        return [value for row in self.rows if (value := row["probe"]) is not None]

    @property
    def lr_scale(self) -> float:
        """The factor for the learning rates after the rollbacks so far."""
        return ROLLBACK_LR_FACTOR ** len(self.rollback_reasons)

    def add_losses(self, losses: Tensor, batch: int) -> None:
        """Adds the losses of one step, float32 [L], without a synchronisation with the device."""
        self.n_images += batch
        self.window.append(losses.clone())

    def close_row(self, learner: Learner, diagnostics: dict[str, float] | None) -> None:
        """Appends a row: the mean losses since the last row, and the diagnostics where they were computed.

        Raises DivergedError where a value is not finite, or where the learner finds that the training went wrong.
        """
        losses = torch.stack(self.window).double().cpu()
        self._check_finite(learner, losses)
        means = dict(zip(learner.losses, losses.mean(0).tolist(), strict=True))
        row: dict[str, float | None] = {"n_images": self.n_images, **means, **dict.fromkeys(learner.diagnostics)}
        row |= diagnostics or {}
        bad = [name for name, value in (diagnostics or {}).items() if not math.isfinite(value)]
        problem = _not_finite(bad) if bad else learner.diagnose(row, min(self.probes, default=None))
        if problem:
            raise DivergedError(f"{problem} by image {self.n_images:,}")
        self.rows.append(row)
        self.window = []

    def _check_finite(self, learner: Learner, losses: Tensor) -> None:
        finite = losses.isfinite()
        if not finite.all():
            first = int((~finite.all(1)).nonzero()[0])
            image = self.n_images - (len(losses) - 1 - first) * learner.settings.batch
            names = compress(learner.losses, (~finite[first]).tolist())
            raise DivergedError(f"{_not_finite(names)} by image {image:,}")


def _not_finite(names: Iterable[str]) -> str:
    return f"{' and '.join(names)} became NaN or infinite"


def fit(
    learner: Learner, step: Step, loader: Loader, validation: Images, train_state: TrainState
) -> Iterator[TrainState]:
    """Trains from `train_state` on, yields it after every step, and ends where `stop_reason` gives a reason.

    Every `log_every` images it closes a row of the curves; every `probe_every` images, and at the end, the row includes
    the learner's diagnostics on `validation`. Raises DivergedError when a row shows that the training went wrong, and
    ValueError when the loader's images are on another device than the learner.
    """
    settings = learner.settings
    while stop_reason(settings.stop, train_state) is None:
        start = train_state.n_images
        raw, labels = loader.fetch(start, settings.batch)
        if raw.device != learner.mode.device:  # else each step would wait for a copy
            raise ValueError(f"the loader returns images on {raw.device}, but the learner is on {learner.mode.device}")
        train_state.add_losses(step(raw, labels, start, train_state.lr_scale), settings.batch)
        last = train_state.n_images >= settings.stop.n_images
        probe = last or crossed(start, train_state.n_images, settings.probe_every)
        if probe or crossed(start, train_state.n_images, settings.log_every):
            train_state.close_row(learner, learner.probe(validation) if probe else None)
        yield train_state


def stop_reason(stop: StopSettings, train_state: TrainState) -> str | None:
    """Returns why the run ends, or None: `n_images`, or `plateau` when the last `patience` probes did not improve."""
    if train_state.n_images >= stop.n_images:
        return "n_images"
    probes = train_state.probes
    if stop.patience and len(probes) > stop.patience and min(probes[-stop.patience :]) >= min(probes[: -stop.patience]):
        return "plateau"
    return None


def crossed(before: int, after: int, every: int) -> bool:
    """Tells whether a multiple of `every` lies in (before, after]."""
    return after // every > before // every
