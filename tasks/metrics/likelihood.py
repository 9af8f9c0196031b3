"""How well a VAE explains an image: its bound in two parts, and the tighter one by importance weights."""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import logsumexp

Features = NDArray[np.float64]


def gaussian_divergence(mean: ArrayLike, log_variance: ArrayLike) -> Features:
    """KL(N(mean, exp(log_variance)) || N(0, I)) in nats by dimension, float64 [N, D] of two arrays [N, D].

    (m^2 + s^2 - 1 - ln s^2) / 2: Kingma & Welling 2014 (arXiv 1312.6114), appendix B. A dimension whose mean over
    images is near 0 carries nothing.
    """
    m, v = np.asarray(mean, np.float64), np.asarray(log_variance, np.float64)
    divergence: Features = (np.square(m) + np.exp(v) - 1 - v) / 2
    return divergence


def gaussian_log_density(values: ArrayLike, mean: ArrayLike, log_variance: ArrayLike) -> Features:
    """ln N(values; mean, exp(log_variance)) in nats, summed over the last axis; the arguments broadcast."""
    x, m, v = (np.asarray(each, np.float64) for each in (values, mean, log_variance))
    density: Features = (-(np.square(x - m) * np.exp(-v) + v + np.log(2 * np.pi)) / 2).sum(axis=-1)
    return density


def importance_weighted_bounds(log_weights: ArrayLike) -> Features:
    """Lower bounds on ln p(x) of N images, float64 [N], from ln p(x, z) - ln q(z | x) of K draws of z: float [N, K].

    ln of the mean weight: Burda et al. 2016 (arXiv 1509.00519), equation 8. With K = 1 it is the usual bound; it grows
    with K towards ln p(x). Raises ValueError unless there are images and all entries are finite.
    """
    weights = np.asarray(log_weights, np.float64)
    if weights.ndim != 2 or not weights.size or not np.isfinite(weights).all():
        raise ValueError(f"log weights of shape {weights.shape} must be finite, [N, K]")
    bounds: Features = logsumexp(weights, axis=1) - np.log(weights.shape[1])
    return bounds
