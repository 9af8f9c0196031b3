"""What the engine asks of a learner, and what it gives to a step."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, assert_never

import numpy as np
import torch
from torch import Tensor, nn

from models.settings import Choice, LearnerSettings
from models.training.device import Mode

Losses = dict[str, Tensor]  # float32 scalars without a graph behind them, in `Learner.losses`' order
QUIET_SHARE, QUIET_STEPS = 0.1, 200  # of a run, at its start

Row = Mapping[str, float | None]  # of the curves: n_images, mean losses, and the signs where they were looked at


class Images(Protocol):
    """A split of a data set: uint8 images that are fetched by index, labels where they exist."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """C, H, W."""
        ...

    @property
    def labels(self) -> np.ndarray | None: ...

    def __len__(self) -> int: ...

    def gather(self, indices: np.ndarray) -> np.ndarray:
        """uint8 [n, C, H, W] for int64 [n]."""
        ...


@dataclass(frozen=True)
class Batch:
    """What a step sees: images float32 [N, C, H, W] in [-1, 1], labels int64 [N], and random numbers."""

    images: Tensor
    labels: Tensor | None
    random: Mapping[str, Tensor]


@dataclass(frozen=True)
class Schedule:
    """What changes from step to step besides the batch.

    `rates` are numbers, or scalars on the device where a graph reads them anew at every replay. Steps of one `variant`
    run the same operations; a graph is captured for each.
    """

    rates: Mapping[str, float | Tensor]
    variant: str = "every"


class Learner(Protocol):
    """Networks, optimisers and a step; the engine owns the clock, the batches and the curves."""

    mode: Mode
    networks: dict[str, nn.Module]
    optimisers: dict[str, torch.optim.Optimizer]

    @property
    def losses(self) -> tuple[str, ...]:
        """Names of what `step` returns."""
        ...

    @property
    def diagnostics(self) -> tuple[str, ...]:
        """Names of what `probe` returns."""
        ...

    @property
    def settings(self) -> LearnerSettings: ...

    def schedule(self, n_images: int, lr_scale: float) -> Schedule:
        """What holds for the step that begins at `n_images`; learning rates are multiplied by `lr_scale`."""
        ...

    def sample_noise(self, n_images: int, count: int) -> dict[str, Tensor]:
        """The random numbers of that step for `count` images, on the learner's device; they follow from the clock."""
        ...

    def step(self, batch: Batch, schedule: Schedule) -> Losses:
        """One update, a function of its arguments and of the networks' and optimisers' state alone."""
        ...

    def probe(self, validation: Images) -> dict[str, float]:
        """`probe`, a figure on held-out images that falls while the learner improves, and vital signs beside it."""
        ...

    def diagnose(self, row: Row, best: float | None) -> str | None:
        """What is wrong with a training whose curves' last row is this, in words, or None; `best` is its best probe."""
        ...


def num_conditional_labels(asked: Choice, labels: Sequence[int]) -> int:
    """How many labels a generator is told, 0 for none, given the training images that each has.

    Raises ValueError where labels are asked for and there are none, or one of them has no training image.
    """
    unseen = [number for number, images in enumerate(labels) if not images]
    match asked:
        case "off":
            return 0
        case "auto":
            return 0 if unseen else len(labels)
        case "on":
            if not labels:
                raise ValueError("the data has no labels; set conditional to auto or off")
            if unseen:
                raise ValueError(
                    f"label {unseen[0]} has no training image; add some, or set conditional to auto or off"
                )
            return len(labels)
    assert_never(asked)


def progress(settings: LearnerSettings, n_images: int) -> float:
    """Share of the run that is done."""
    return min(n_images / settings.stop.n_images, 1.0)


def settled(settings: LearnerSettings, n_images: float) -> bool:
    """Whether a run is old enough for its vital signs to mean something: batch statistics and averages lag behind."""
    return n_images >= max(QUIET_SHARE * settings.stop.n_images, QUIET_STEPS * settings.batch)
