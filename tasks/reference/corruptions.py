"""Ways to spoil images, by which a judge shows what it sees: some a person notices, some nobody does."""

from collections.abc import Callable

import numpy as np
from scipy.ndimage import gaussian_filter

Corruption = Callable[[np.ndarray, float], np.ndarray]  # images uint8 [N, C, H, W] and an amount to images


def lift(images: np.ndarray, level: float) -> np.ndarray:
    """Nothing is darker than `level` of 255: a raised background."""
    lifted: np.ndarray = np.maximum(images, np.uint8(level))
    return lifted


def fade(images: np.ndarray, contrast: float) -> np.ndarray:
    """Contrast about the middle of the range; 1 changes nothing."""
    return _bytes(127.5 + contrast * (images.astype(np.float32) - 127.5))


def blur(images: np.ndarray, sigma: float = 1.0) -> np.ndarray:
    """Under a Gaussian of `sigma` pixels; edges mirrored."""
    return _bytes(gaussian_filter(images.astype(np.float32), (0, 0, sigma, sigma)))


def disturb(images: np.ndarray, sigma: float) -> np.ndarray:
    """Normal noise of `sigma` of 255, always the same."""
    return _bytes(images + sigma * np.random.default_rng(0).standard_normal(images.shape, np.float32))


def _bytes(images: np.ndarray) -> np.ndarray:
    rounded: np.ndarray = np.clip(np.rint(images), 0, 255).astype(np.uint8)
    return rounded


CORRUPTIONS: dict[str, tuple[Corruption, tuple[float, ...]]] = {
    "background": (lift, (0, 2, 4, 8, 16, 24)),
    "blur": (blur, (0.25, 0.5, 1, 2)),
    "noise": (disturb, (1, 2, 4, 8, 16)),
    "contrast": (fade, (0.95, 0.9, 0.8, 0.7, 0.5)),
}
