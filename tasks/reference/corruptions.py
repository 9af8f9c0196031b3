"""Corruptions of images, to check how strongly an evaluator responds to each."""

from collections.abc import Callable

import numpy as np
from scipy.ndimage import gaussian_filter

Corruption = Callable[[np.ndarray, float], np.ndarray]  # (uint8 [N, C, H, W], amount) -> uint8 [N, C, H, W]


def raise_background(images: np.ndarray, level: float) -> np.ndarray:
    """Raises every value below `level`, of 255, to `level`."""
    raised: np.ndarray = np.maximum(images, np.uint8(level))
    return raised


def reduce_contrast(images: np.ndarray, contrast: float) -> np.ndarray:
    """Scales values by `contrast` about the middle of the range; 1 changes nothing."""
    return _to_bytes(127.5 + contrast * (images.astype(np.float32) - 127.5))


def blur(images: np.ndarray, sigma: float = 1.0) -> np.ndarray:
    """Applies a Gaussian filter of `sigma` pixels with mirrored edges."""
    return _to_bytes(gaussian_filter(images.astype(np.float32), (0, 0, sigma, sigma)))


def add_noise(images: np.ndarray, sigma: float) -> np.ndarray:
    """Adds normal noise with a deviation of `sigma`, of 255, from a fixed seed."""
    return _to_bytes(images + sigma * np.random.default_rng(0).standard_normal(images.shape, np.float32))


def _to_bytes(images: np.ndarray) -> np.ndarray:
    rounded: np.ndarray = np.clip(np.rint(images), 0, 255).astype(np.uint8)
    return rounded


CORRUPTIONS: dict[str, tuple[Corruption, tuple[float, ...]]] = {
    "background": (raise_background, (0, 2, 4, 8, 16, 24)),
    "blur": (blur, (0.25, 0.5, 1, 2)),
    "noise": (add_noise, (1, 2, 4, 8, 16)),
    "contrast": (reduce_contrast, (0.95, 0.9, 0.8, 0.7, 0.5)),
}
