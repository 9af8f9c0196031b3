"""Terms of a VAE's evidence lower bound (ELBO) and of its importance-weighted bound."""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import logsumexp

from models.losses.elbo import kl_to_standard_normal

Floats = NDArray[np.float64]


def gaussian_kl(mean: ArrayLike, log_variance: ArrayLike) -> Floats:
    """KL(N(m, s^2) || N(0, I)) = (m^2 + s^2 - 1 - ln s^2) / 2 in nats per dimension, float64 [N, D], of two [N, D].

    Kingma & Welling 2014 (arXiv 1312.6114), appendix B. A dimension with a mean near 0 over images carries nothing.
    """
    m, v = np.asarray(mean, np.float64), np.asarray(log_variance, np.float64)
    return kl_to_standard_normal(m, v, np.exp(v))


def gaussian_log_density(values: ArrayLike, mean: ArrayLike, log_variance: ArrayLike) -> Floats:
    """ln N(values; mean, exp(log_variance)) in nats, summed over the last axis; the arguments broadcast."""
    x, m, v = (np.asarray(each, np.float64) for each in (values, mean, log_variance))
    density: Floats = (-(np.square(x - m) * np.exp(-v) + v + np.log(2 * np.pi)) / 2).sum(axis=-1)
    return density


def importance_weighted_bounds(log_weights: ArrayLike) -> Floats:
    """ln (1/K) sum_k w_k in nats, float64 [N], of log-weights ln p(x, z_k) - ln q(z_k | x), float [N, K].

    A lower bound on ln p(x): Burda et al. 2016 (arXiv 1509.00519), equation 8. With K = 1 it is the ELBO; it rises with
    K towards ln p(x). Raises ValueError unless there are images and all entries are finite.
    """
    weights = np.asarray(log_weights, np.float64)
    if weights.ndim != 2 or not weights.size or not np.isfinite(weights).all():
        raise ValueError(f"log weights of shape {weights.shape} must be finite, [N, K]")
    bounds: Floats = logsumexp(weights, axis=1) - np.log(weights.shape[1])
    return bounds
