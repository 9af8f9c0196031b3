"""The bounds of a VAE with a known likelihood, and similarities of images with known values."""

from dataclasses import dataclass

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from tasks.common.params import load_params
from tasks.evaluate.vae import (
    Autoencoder,
    elbo_metrics,
    importance_weights,
    pixel_log_density,
    pixel_variance,
    squared_errors,
    ssim,
)
from tasks.metrics.bootstrap import Interval

SETTINGS = load_params().evaluate.model_copy(update={"iwae_images": 50, "iwae_samples": 20})
NOISE = 0.05**2  # variance of pixels in [0, 1], far above the 8 bits' own 1.3e-6
WEIGHTS = 0.1 * np.linalg.qr(np.random.default_rng(0).standard_normal((16, 2)))[0].T * [[3], [2]]  # orthogonal rows


class Linear(Autoencoder):
    """Probabilistic PCA (Tipping & Bishop 1999): x = 1/2 + z W + noise, with its exact posterior as the encoder."""

    def __init__(self) -> None:
        self._covariance = np.linalg.inv(np.eye(2) + WEIGHTS @ WEIGHTS.T / NOISE)
        assert abs(self._covariance[0, 1]) < 1e-9  # the exact posterior is a diagonal Gaussian

    def encode(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        mean = (images.reshape(len(images), -1) / 255 - 0.5) @ WEIGHTS.T / NOISE @ self._covariance
        return mean, np.broadcast_to(np.log(np.diag(self._covariance)), mean.shape)

    def decode(self, codes: np.ndarray) -> np.ndarray:
        return (0.5 + codes @ WEIGHTS).reshape(-1, 1, 4, 4)


@dataclass
class Images:
    """A split of samples from the linear model."""

    images: np.ndarray
    shape: tuple[int, int, int] = (1, 4, 4)

    @classmethod
    def sampled(cls, count: int, seed: int) -> "Images":
        random = np.random.default_rng(seed)
        values = 0.5 + random.standard_normal((count, 2)) @ WEIGHTS
        values += np.sqrt(NOISE) * random.standard_normal(values.shape)
        return cls(np.clip(np.rint(255 * values), 0, 255).astype(np.uint8).reshape(-1, 1, 4, 4))

    def __len__(self) -> int:
        return len(self.images)

    def gather(self, rows: np.ndarray) -> np.ndarray:
        return self.images[rows]


def log_likelihood(images: Images) -> np.ndarray:
    distribution = multivariate_normal(np.full(16, 0.5), WEIGHTS.T @ WEIGHTS + NOISE * np.eye(16))
    return distribution.logpdf(images.images.reshape(len(images), -1) / 255)


def test_importance_weights_of_an_exact_posterior_are_the_likelihood() -> None:
    test = Images.sampled(50, 1)
    weights = importance_weights(Linear(), test, NOISE, SETTINGS)
    assert weights.shape == (50, 20)
    np.testing.assert_allclose(weights, log_likelihood(test)[:, None].repeat(20, axis=1), atol=1e-3)


def test_the_bound_of_an_exact_posterior_is_the_likelihood() -> None:
    """With 3,000 images and one code each, the standard error is below 0.1 nats."""
    test, validation = Images.sampled(3000, 1), Images.sampled(2000, 2)
    found = elbo_metrics(Linear(), test, validation, SETTINGS)
    metrics = {name: one.estimate if isinstance(one, Interval) else one for name, one in found.items()}
    assert metrics["bound_nats"] == pytest.approx(log_likelihood(test).mean(), abs=0.3)
    assert metrics["bound_nats"] == pytest.approx(metrics["reconstruction_nats"] - metrics["kl_nats"])
    assert metrics["iw_20_nats"] == pytest.approx(log_likelihood(test)[:50].mean(), abs=0.3)
    assert metrics["bits_per_value"] == pytest.approx(8 - metrics["bound_nats"] / 16 / np.log(2))
    assert metrics["active_units"] == 2


def test_the_pixel_variance_is_that_of_the_noise() -> None:
    """With codes of the exact posterior the error is the noise; 32,000 values give its variance to 0.8 %."""
    assert pixel_variance(Linear(), Images.sampled(2000, 2), 0) == pytest.approx(NOISE, rel=0.03)


def test_density_and_errors_of_known_images() -> None:
    black, white = np.zeros((2, 1, 16, 16), np.uint8), np.full((2, 1, 16, 16), 255, np.uint8)
    assert squared_errors(black, white) == pytest.approx(1)
    assert ssim(black, black) == pytest.approx(1)
    assert ssim(black, white) == pytest.approx(0, abs=1e-3)
    density = pixel_log_density(white, black / 255, 0.25)
    assert density == pytest.approx(256 * (-1 / 0.5 - 0.5 * np.log(2 * np.pi * 0.25)))
