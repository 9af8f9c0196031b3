"""Kernel distance (KID): the squared maximum mean discrepancy of two sets of features."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike

from tasks.metrics.features import Features, as_pair, select_rows

BLOCK = 256  # rows of a kernel matrix in memory at once


@dataclass(frozen=True)
class KernelDistance:
    """Mean over subsets, unbiased and therefore sometimes negative, and the standard error of that mean."""

    mean: float
    standard_error: float


def kernel_distance(
    generated: ArrayLike, real: ArrayLike, *, subsets: int, subset_size: int, seed: int
) -> KernelDistance:
    """Kernel inception distance of features [N, D] and [M, D] (Binkowski et al. 2018, arXiv 1801.01401, section 4).

    Each of `subsets` S takes `subset_size` m rows of either side without replacement. Subsets of one pool share rows,
    so s / sqrt(S) with their deviation s understates the error. For a mean over rows of a pool of n = min(N, M) the
    error is exactly s sqrt((1/S + (1 - 1/S) m/n) / (1 - m/n)), the value returned. Raises ValueError if S < 2 or
    m > n/2, where the subsets overlap too much to show their deviation.
    """
    first, second = as_pair(generated, real)
    count = min(len(first), len(second))
    if subsets < 2 or not 2 <= subset_size <= count // 2:
        raise ValueError(
            f"{subsets} subsets of {subset_size} images from {count}: "
            f"at least 2 subsets of 2 to {count // 2} images are needed"
        )
    random = np.random.default_rng(seed)
    pairs = [[random.choice(len(side), subset_size, replace=False) for side in (first, second)] for _ in range(subsets)]
    values = np.array([squared_mmd(select_rows(first, a), select_rows(second, b)) for a, b in pairs])
    shared = subset_size / count
    variance = values.var(ddof=1) * (1 / subsets + (1 - 1 / subsets) * shared) / (1 - shared)
    return KernelDistance(float(values.mean()), float(np.sqrt(variance)))


def squared_mmd(generated: ArrayLike, real: ArrayLike) -> float:
    """Unbiased MMD^2 of features [N, D] and [M, D] (Gretton et al. 2012, equation 3), kernel (x.y / D + 1)^3.

    The estimator leaves out the kernel of an image with itself, so that equal distributions have mean 0.
    """
    first, second = as_pair(generated, real)
    n, m = len(first), len(second)
    within_first = (_kernel_sum(first, first) - _self_sum(first)) / (n * (n - 1))
    within_second = (_kernel_sum(second, second) - _self_sum(second)) / (m * (m - 1))
    return within_first + within_second - 2 * _kernel_sum(first, second) / (n * m)


def _kernel_sum(a: Features, b: Features) -> float:
    return sum(float(_cubic_(part @ b.T, a.shape[1]).sum()) for part in torch.split(a, BLOCK))


def _self_sum(a: Features) -> float:
    return float(_cubic_(a.square().sum(dim=1), a.shape[1]).sum())


def _cubic_(products: Features, length: int) -> Features:
    """Applies the kernel to inner products, in place."""
    return products.div_(length).add_(1).pow_(3)
