"""The terms of the evidence lower bound, and the likelihood of a flow.

Images are float32 [N, C, H, W], codes float32 [N, L]; results are float32, in nats per image.
"""

import math

import torch.nn.functional as F
from torch import Tensor

LOG_SIGMA_FLOOR = -6.0


# ---- KL(N(m, diag exp v) || N(0, I)) = 1/2 sum(exp v + m^2 - 1 - v): Kingma & Welling 2014, appendix B --------------
def kl_to_standard_normal(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Divergence per dimension, [N, L] from [N, L], in nats; never negative."""
    return (log_variance.exp() + mean.square() - 1 - log_variance) / 2


# ---- sum over pixels of (x - y)^2, mean over the batch: Kingma & Welling 2014 with sigma^2 = 1/2 ---------------------
def summed_mse(output: Tensor, target: Tensor) -> Tensor:
    """Squared error summed over each image, both in [0, 1]: Gaussian negative log-likelihood but for a constant."""
    return (output - target).square().sum((1, 2, 3)).mean()


# ---- -sum over pixels of x log y + (1 - x) log(1 - y): Kingma & Welling 2014, appendix C.1 ---------------------------
def bernoulli(logits: Tensor, target: Tensor) -> Tensor:
    """Binary cross-entropy summed over each image; `target` in [0, 1], `logits` before the sigmoid."""
    return F.binary_cross_entropy_with_logits(logits, target, reduction="none").sum((1, 2, 3)).mean()


# ---- D log s + sum (x - y)^2 / (2 s^2), with s^2 = mean (x - y)^2, log s softly above -6: Rybkin 2021, eq. 5 and 6 ---
def optimal_sigma(output: Tensor, target: Tensor) -> Tensor:
    """Gaussian negative log-likelihood of each image at the best shared sigma, both in [-1, 1]; no 2 pi term."""
    error = (output - target).square()
    log_sigma = soft_floor(error.mean().clamp_min(1e-20).log() / 2, LOG_SIGMA_FLOOR)
    return (log_sigma + error / (2 * (2 * log_sigma).exp())).sum((1, 2, 3)).mean()


def soft_floor(value: Tensor, floor: float) -> Tensor:
    """`floor + softplus(value - floor)`: about `value` well above the floor, never below it."""
    return floor + F.softplus(value - floor)


# ---- -log N(u; 0, I) - log |det du/dz| for an invertible z -> u: Dinh 2017, eq. 2 ------------------------------------
def flow_nll(noise: Tensor, log_determinant: Tensor) -> Tensor:
    """Negative log-likelihood, mean over the batch, of codes that a flow maps to `noise` [N, L]; determinant [N]."""
    gaussian = (noise.square() + math.log(2 * math.pi)).sum(1) / 2
    return (gaussian - log_determinant).mean()
