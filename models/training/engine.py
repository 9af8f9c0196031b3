"""The loop that runs any learner: one clock, which counts images seen, and curves that follow from it."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import compress

import torch
from torch import Tensor

from models.settings import StopSettings
from models.training.learner import Images, Learner
from models.training.loaders import Loader
from models.training.steps import Step

ROLLBACK_LR_FACTOR = 0.5  # what each rollback multiplies the learning rates by


class DivergedError(Exception):
    """A training has gone wrong in a way that more of it will not mend; the text is a clause that says how."""


@dataclass
class TrainState:
    """Where a run stands: images seen, the curves, the losses since their last row, and why it was set back."""

    n_images: int = 0
    rows: list[dict[str, float | None]] = field(default_factory=list)
    window: list[Tensor] = field(default_factory=list)  # float32 [L] each, on the device until a row is closed
    rollback_reasons: list[str] = field(default_factory=list)  # each ended in a rollback

    @property
    def probes(self) -> list[float]:
        """The probe's values so far, in order."""
        return [value for row in self.rows if (value := row["probe"]) is not None]

    @property
    def lr_scale(self) -> float:
        """What the learning rates are multiplied by."""
        return ROLLBACK_LR_FACTOR ** len(self.rollback_reasons)

    def count(self, losses: Tensor, batch: int) -> None:
        """Takes one step's losses in, float32 [L]; nothing waits for the device to have them."""
        self.n_images += batch
        self.window.append(losses.clone())

    def close_row(self, learner: Learner, diagnostics: dict[str, float] | None) -> None:
        """Ends a stretch of the curves with the mean losses; raises AlarmError where they or the signs are ill."""
        losses = torch.stack(self.window).double().cpu()
        self._refuse_non_finite(learner, losses)
        means = dict(zip(learner.losses, losses.mean(0).tolist(), strict=True))
        row: dict[str, float | None] = {
            "n_images": self.n_images,
            **means,
            **(diagnostics or dict.fromkeys(learner.diagnostics)),
        }
        bad = [name for name, value in (diagnostics or {}).items() if not math.isfinite(value)]
        ill = (
            f"{' and '.join(bad)} stopped being a finite number"
            if bad
            else learner.diagnose(row, min(self.probes, default=None))
        )
        if ill:
            raise DivergedError(f"{ill} by image {self.n_images:,}")
        self.rows.append(row)
        self.window = []

    def _refuse_non_finite(self, learner: Learner, losses: Tensor) -> None:
        finite = losses.isfinite()
        if finite.all():
            return
        first = int((~finite.all(1)).nonzero()[0])
        bad = " and ".join(compress(learner.losses, (~finite[first]).tolist()))
        image = self.n_images - (len(losses) - 1 - first) * learner.settings.batch
        raise DivergedError(f"{bad} stopped being a finite number by image {image:,}")


def fit(
    learner: Learner, step: Step, loader: Loader, validation: Images, train_state: TrainState
) -> Iterator[TrainState]:
    """Trains from where `train_state` stands and yields it after every step, until the rule in the settings says stop.

    Raises AlarmError when the training has gone wrong: seen within `log_every` images where the losses tell, and within
    `probe_every` where the signs do; ValueError for a feed whose images lie on another device.
    """
    settings = learner.settings
    while stop_reason(settings.stop, train_state) is None:
        start = train_state.n_images
        raw, labels = loader.fetch(start, settings.batch)
        if raw.device != learner.mode.device:  # each step would wait for a copy that nobody asked for
            raise ValueError(f"the feed gives images on {raw.device}; this training runs on {learner.mode.device}")
        train_state.count(step(raw, labels, start, train_state.lr_scale), settings.batch)
        last = train_state.n_images >= settings.stop.n_images
        probe = last or crossed(start, train_state.n_images, settings.probe_every)
        if probe or crossed(start, train_state.n_images, settings.log_every):
            train_state.close_row(learner, learner.probe(validation) if probe else None)
        yield train_state


def stop_reason(stop: StopSettings, train_state: TrainState) -> str | None:
    """Why the run is over by its own clock, or None: `n_images`, or `plateau` when the probe stopped falling."""
    if train_state.n_images >= stop.n_images:
        return "n_images"
    probes = train_state.probes
    if stop.patience and len(probes) > stop.patience and min(probes[-stop.patience :]) >= min(probes[: -stop.patience]):
        return "plateau"
    return None


def crossed(before: int, after: int, every: int) -> bool:
    """Whether a multiple of `every` lies in (before, after]."""
    return after // every > before // every
