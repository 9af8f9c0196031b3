"""What the engine asks of a learner."""

from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from models.device import Mode
from models.settings import LearnerSettings


class Images(Protocol):
    """A split of a data set: uint8 images that are fetched by index, labels where they exist."""

    @property
    def labels(self) -> np.ndarray | None: ...

    def __len__(self) -> int: ...

    def gather(self, indices: np.ndarray) -> np.ndarray:
        """uint8 [n, C, H, W] for int64 [n]."""
        ...


class Learner(Protocol):
    """Networks, optimisers and a step; the engine owns the clock, the batches and the curves."""

    mode: Mode
    networks: dict[str, nn.Module]
    optimisers: dict[str, torch.optim.Optimizer]

    @property
    def settings(self) -> LearnerSettings: ...

    def step(self, images: Tensor, labels: Tensor | None, n_images: int) -> dict[str, Tensor]:
        """One update on a batch, float32 [N, C, H, W] in [-1, 1] and int64 [N]; the losses as detached scalars.

        `n_images` is the clock before the step: schedules and random numbers follow from it.
        """
        ...

    def probe(self, validation: Images) -> float:
        """A figure on held-out images that falls while the learner improves."""
        ...


def progress(settings: LearnerSettings, n_images: int) -> float:
    """Share of the run that is done."""
    return min(n_images / settings.stop.n_images, 1.0)
