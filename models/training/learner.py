"""The interface between the engine and a learner."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, assert_never

import numpy as np
import torch
from torch import Tensor, nn

from models.settings import Choice, LearnerSettings
from models.training.device import Mode

Losses = dict[str, Tensor]  # detached float32 scalars, in the order of `Learner.losses`
Row = Mapping[str, float | None]  # of the training curves: n_images, mean losses, and diagnostics or None
MIN_SHARE, MIN_STEPS = 0.1, 200  # of a run, before its diagnostics are meaningful


class Images(Protocol):
    """A split of a data set: uint8 images by index, with labels where the data has them."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """C, H, W."""

    @property
    def labels(self) -> np.ndarray | None:
        """Labels int64 [N], or None."""

    def __len__(self) -> int: ...

    def gather(self, indices: np.ndarray) -> np.ndarray:
        """Returns images uint8 [n, C, H, W] for indices int64 [n]."""


@dataclass(frozen=True)
class Batch:
    """The data of one step: images float32 [N, C, H, W] in [-1, 1], labels int64 [N], and random numbers by name."""

    images: Tensor
    labels: Tensor | None
    random: Mapping[str, Tensor]


@dataclass(frozen=True)
class Schedule:
    """Hyperparameters that change from step to step.

    `rates` are floats, or scalar tensors on the device, which a CUDA graph reads at every replay. Steps with the same
    `variant` run the same operations; each variant gets its own graph.
    """

    rates: Mapping[str, float | Tensor]
    variant: str = "every"


class Learner(Protocol):
    """Networks, optimisers and one training step; the engine provides batches and records the curves."""

    mode: Mode
    networks: dict[str, nn.Module]
    optimisers: dict[str, torch.optim.Optimizer]

    @property
    def losses(self) -> tuple[str, ...]:
        """Names of the losses that `step` returns."""

    @property
    def diagnostics(self) -> tuple[str, ...]:
        """Names of the values that `probe` returns."""

    @property
    def settings(self) -> LearnerSettings: ...

    def schedule(self, n_images: int, lr_scale: float) -> Schedule:
        """Returns the schedule of the step that starts at `n_images`, with learning rates times `lr_scale`."""

    def sample_noise(self, n_images: int, count: int) -> dict[str, Tensor]:
        """Returns the random numbers of that step for `count` images, on the device, from the seed and `n_images`."""

    def step(self, batch: Batch, schedule: Schedule) -> Losses:
        """Updates the networks once; depends only on the arguments and on the state of networks and optimisers."""

    def probe(self, validation: Images) -> dict[str, float]:
        """Returns diagnostics on held-out images; `probe` is the one that falls while the learner improves."""

    def diagnose(self, row: Row, best: float | None) -> str | None:
        """Returns a clause that says how the training went wrong, or None.

        `row` is the latest row of the curves and `best` the lowest probe so far.
        """


def num_conditional_labels(setting: Choice, counts: Sequence[int]) -> int:
    """Returns how many labels condition a model, 0 for an unconditional one, from the training images per label.

    Raises ValueError for `on` where there are no labels, or where a label has no training image.
    """
    empty = [label for label, count in enumerate(counts) if not count]
    match setting:
        case "off":
            return 0
        case "auto":
            return 0 if empty else len(counts)
        case "on":
            if not counts:
                raise ValueError("the data has no labels; set conditional to auto or off")
            if empty:
                raise ValueError(f"label {empty[0]} has no training image; add some, or set conditional to auto or off")
            return len(counts)
    assert_never(setting)


def progress(settings: LearnerSettings, n_images: int) -> float:
    """Returns the share of the run that is done, 0 to 1."""
    return min(n_images / settings.stop.n_images, 1.0)


def diagnostics_valid(settings: LearnerSettings, n_images: float) -> bool:
    """Tells whether a run is long enough for its diagnostics: batch statistics and EMA weights lag behind at first."""
    return n_images >= max(MIN_SHARE * settings.stop.n_images, MIN_STEPS * settings.batch)
