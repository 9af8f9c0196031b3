"""The loop that runs any learner: one clock, which counts images seen, and curves that follow from it."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from models.learners.base import Images, Learner
from models.pixels import to_model
from models.settings import StopSettings
from models.streams import Sampler

Row = dict[str, float | None]


class DivergedError(Exception):
    """A loss is no longer a finite number."""


@dataclass
class Clock:
    """Where a run stands: images seen, the curves so far, and the losses since their last row."""

    n_images: int = 0
    rows: list[Row] = field(default_factory=list)
    sums: dict[str, Tensor] = field(default_factory=dict)
    steps: int = 0

    @property
    def probes(self) -> list[float]:
        """The probe's values so far, in order."""
        return [value for row in self.rows if (value := row["probe"]) is not None]

    def count(self, losses: dict[str, Tensor], batch: int) -> None:
        """Takes one step's losses in; they are summed on the device and read once a row."""
        self.n_images, self.steps = self.n_images + batch, self.steps + 1
        self.sums = {name: self.sums[name] + loss if self.sums else loss.clone() for name, loss in losses.items()}

    def close_row(self, probe: float | None) -> None:
        """Ends a stretch of the curves; raises DivergedError when a mean loss or the probe is not finite."""
        means = {name: float(total) / self.steps for name, total in self.sums.items()}
        bad = [name for name, value in (means | {"probe": probe or 0.0}).items() if not math.isfinite(value)]
        if bad:
            raise DivergedError(f"{' and '.join(bad)} stopped being a finite number by image {self.n_images:,}")
        self.rows.append({"n_images": self.n_images, **means, "probe": probe})
        self.sums, self.steps = {}, 0


def fit(learner: Learner, train: Images, validation: Images, clock: Clock) -> Iterator[Clock]:
    """Trains from where `clock` stands and yields it after every step, until the rule in the settings says stop."""
    settings, sampler = learner.settings, Sampler(len(train), learner.settings.seed)
    while stop_reason(settings.stop, clock) is None:
        start, rows = clock.n_images, sampler.batch(clock.n_images, settings.batch)
        images = learner.mode.place(to_model(torch.from_numpy(train.gather(rows))))
        labels = None if train.labels is None else torch.from_numpy(train.labels[rows]).to(learner.mode.device)
        clock.count(learner.step(images, labels, start), settings.batch)
        last = clock.n_images >= settings.stop.n_images
        probe = last or crossed(start, clock.n_images, settings.probe_every)
        if probe or crossed(start, clock.n_images, settings.log_every):
            clock.close_row(learner.probe(validation) if probe else None)
        yield clock


def stop_reason(stop: StopSettings, clock: Clock) -> str | None:
    """Why the run is over by its own clock, or None: `n_images`, or `plateau` when the probe stopped falling."""
    if clock.n_images >= stop.n_images:
        return "n_images"
    probes = clock.probes
    if stop.patience and len(probes) > stop.patience and min(probes[-stop.patience :]) >= min(probes[: -stop.patience]):
        return "plateau"
    return None


def crossed(before: int, after: int, every: int) -> bool:
    """Whether a multiple of `every` lies in (before, after]."""
    return after // every > before // every
