"""Kernel distance (KID): the squared maximum mean discrepancy of two sets of features."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike

from tasks.metrics.features import Features, as_pair, taken

BLOCK = 256  # rows of a kernel matrix that are held at once


@dataclass(frozen=True)
class KernelDistance:
    """Mean over subsets (it may be negative, being unbiased) and the standard error of that mean."""

    mean: float
    standard_error: float


def kernel_distance(
    generated: ArrayLike, real: ArrayLike, *, subsets: int, subset_size: int, seed: int
) -> KernelDistance:
    """Kernel inception distance of features [N, D] and [M, D] (Binkowski et al. 2018, arXiv 1801.01401, section 4).

    Each of `subsets` S draws `subset_size` m rows from either side without replacement. Subsets of one pool share
    rows, so their spread s understates the error; for a mean over rows drawn from n = min(N, M) it is exactly
    s sqrt((1/S + (1 - 1/S) m/n) / (1 - m/n)), which is what is returned. Raises ValueError when m is above n/2,
    where the subsets are too alike to show their spread, or S < 2.
    """
    first, second = as_pair(generated, real)
    count = min(len(first), len(second))
    if subsets < 2 or not 2 <= subset_size <= count // 2:
        raise ValueError(
            f"{subsets} subsets of {subset_size} images from {count}: "
            f"at least 2 subsets of 2 to {count // 2} images are needed"
        )
    random = np.random.default_rng(seed)
    draws = [[random.choice(len(side), subset_size, replace=False) for side in (first, second)] for _ in range(subsets)]
    values = np.array([squared_discrepancy(taken(first, rows), taken(second, columns)) for rows, columns in draws])
    shared = subset_size / count
    variance = values.var(ddof=1) * (1 / subsets + (1 - 1 / subsets) * shared) / (1 - shared)
    return KernelDistance(float(values.mean()), float(np.sqrt(variance)))


def squared_discrepancy(generated: ArrayLike, real: ArrayLike) -> float:
    """Unbiased MMD^2 of features [N, D] and [M, D] (Gretton et al. 2012, equation 3), kernel (x.y / D + 1)^3.

    The kernel of an image with itself is left out, so that equal laws give 0 on average and negative values occur.
    """
    first, second = as_pair(generated, real)
    n, m = len(first), len(second)
    within_first = (_kernel_sum(first, first) - _self_sum(first)) / (n * (n - 1))
    within_second = (_kernel_sum(second, second) - _self_sum(second)) / (m * (m - 1))
    return within_first + within_second - 2 * _kernel_sum(first, second) / (n * m)


def _kernel_sum(a: Features, b: Features) -> float:
    return sum(float(_cubic(part @ b.T, a.shape[1]).sum()) for part in torch.split(a, BLOCK))


def _self_sum(a: Features) -> float:
    return float(_cubic(a.square().sum(dim=1), a.shape[1]).sum())


def _cubic(products: Features, length: int) -> Features:
    """Of products that nobody needs any more."""
    return products.div_(length).add_(1).pow_(3)
