"""Settings of small learners, small images, and a CPU mode in float32 and channels_last."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from models.settings import ClassifierSettings, GanSettings, VaeSettings
from models.training.device import Mode
from tasks.common.params import load_params


class ArrayImages:
    """A split in memory: bright squares on a dark background, whose side depends on the label."""

    def __init__(self, count: int, size: int = 28, channels: int = 1, labelled: bool = True) -> None:
        self.shape = (channels, size, size)
        self._pixels = np.full((count, *self.shape), 10, np.uint8)
        for row in range(count):
            side = 4 + row % 4 * size // 6
            self._pixels[row, :, 2 : 2 + side, 2 : 2 + side] = 200 + row % 50
        self.labels = np.arange(count) % 4 if labelled else None

    def __len__(self) -> int:
        return len(self._pixels)

    def gather(self, indices: np.ndarray) -> np.ndarray:
        return self._pixels[indices]


@pytest.fixture
def mode() -> Mode:
    return Mode(torch.device("cpu"), None, torch.channels_last, "a test")


@pytest.fixture
def images() -> ArrayImages:
    return ArrayImages(64)


@pytest.fixture
def gan_settings() -> Callable[..., GanSettings]:
    return lambda **changes: _small(load_params().train_gan, noise=8, channels=4, **changes)


@pytest.fixture
def vae_settings() -> Callable[..., VaeSettings]:
    return lambda **changes: _small(load_params().train_vae, latent=4, channels=4, **{"prior_steps": 20} | changes)


@pytest.fixture
def classifier_settings() -> Callable[..., ClassifierSettings]:
    return lambda **changes: _small(load_params().reference, channels=4, features=8, **changes)


def _small(settings, n_images=64, patience=0, **changes):  # type: ignore[no-untyped-def]
    stop = settings.stop.model_copy(update={"n_images": n_images, "patience": patience})
    every = {"log_every": 16, "probe_every": 32, "checkpoint_every": 32}
    return type(settings).model_validate(
        settings.model_dump() | {"batch": 8, "stop": stop.model_dump()} | every | changes
    )
