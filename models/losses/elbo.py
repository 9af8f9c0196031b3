"""Terms of the evidence lower bound (ELBO), and the likelihood of a normalising flow.

Images are float [N, C, H, W] and codes float [N, L]. The losses are scalars in nats per image, averaged over the batch.
Other shapes raise ValueError.
"""

import math
from typing import Any, TypeVar

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from models.shapes import check_shape

MIN_LOG_SIGMA = -6.0
Array = TypeVar("Array", Tensor, np.ndarray[Any, np.dtype[np.float64]])


# ---- KL(N(m, diag exp v) || N(0, I)) = 1/2 sum(exp v + m^2 - 1 - v): Kingma & Welling 2014, appendix B --------------
def kl_to_standard_normal(mean: Array, log_variance: Array, variance: Array) -> Array:
    """Returns the KL divergence of each code dimension in nats, [N, L]; tensors and NumPy arrays alike.

    `variance` is exp(log_variance), which the caller computes with torch or NumPy.
    """
    check_shape(mean, "mean", ("N", "L"))
    check_shape(log_variance, "log-variance", tuple(mean.shape))
    kl: Array = (variance + mean**2 - 1 - log_variance) / 2
    return kl


# ---- sum over pixels of (x - y)^2, mean over the batch: Kingma & Welling 2014 with sigma^2 = 1/2 ---------------------
def summed_mse(output: Tensor, target: Tensor) -> Tensor:
    """Returns the squared error per image, both in [0, 1]: the Gaussian negative log-likelihood up to a constant."""
    _check_images(output, target)
    return (output - target).square().sum((1, 2, 3)).mean()


# ---- -sum over pixels of x log y + (1 - x) log(1 - y): Kingma & Welling 2014, appendix C.1 ---------------------------
def bernoulli(logits: Tensor, target: Tensor) -> Tensor:
    """Returns the binary cross-entropy per image of logits (before the sigmoid) and targets in [0, 1]."""
    _check_images(logits, target)
    return F.binary_cross_entropy_with_logits(logits, target, reduction="none").sum((1, 2, 3)).mean()


# ---- D log s + sum (x - y)^2 / (2 s^2), with s^2 = mean (x - y)^2, log s softly above -6: Rybkin 2021, eq. 5 and 6 ---
def optimal_sigma(output: Tensor, target: Tensor) -> Tensor:
    """Returns the Gaussian negative log-likelihood per image at the optimal shared sigma, without the 2 pi term.

    Both arguments are in [-1, 1].
    """
    _check_images(output, target)
    error = (output - target).square()
    log_sigma = error.mean().clamp_min(1e-20).log() / 2
    log_sigma = MIN_LOG_SIGMA + F.softplus(log_sigma - MIN_LOG_SIGMA)
    return (log_sigma + error / (2 * (2 * log_sigma).exp())).sum((1, 2, 3)).mean()


def _check_images(output: Tensor, target: Tensor) -> None:
    check_shape(output, "output", ("N", "C", "H", "W"))
    check_shape(target, "target", tuple(output.shape))


# ---- -log N(u; 0, I) - log |det du/dz| for an invertible z -> u: Dinh 2017, eq. 2 ------------------------------------
def flow_nll(noise: Tensor, log_determinant: Tensor) -> Tensor:
    """Returns the negative log-likelihood of codes that a flow maps to `noise` [N, L] with `log_determinant` [N]."""
    check_shape(noise, "noise", ("N", "L"))
    check_shape(log_determinant, "log-determinant", (len(noise),))
    gaussian = (noise.square() + math.log(2 * math.pi)).sum(1) / 2
    return (gaussian - log_determinant).mean()
