"""Fréchet distance between the Gaussians that fit two sets of features."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from tasks.metrics.features import LAPACK_LIMIT, as_features, select_rows, to_eigensolver


@dataclass(frozen=True)
class Moments:
    """The Gaussian that fits `count` features: mean float64 [D], unbiased covariance float64 [D, D]."""

    mean: Tensor
    covariance: Tensor
    count: int

    @classmethod
    def of(cls, features: ArrayLike) -> "Moments":
        """Computes the moments of features [N, D]; raises ValueError if N < 2 or an entry is not finite."""
        rows = as_features(features)
        mean = rows.mean(dim=0)
        centred = rows - mean
        return cls(mean, centred.T @ centred / (len(rows) - 1), len(rows)).to(rows.device)

    def to(self, device: torch.device) -> "Moments":
        """Moves the moments to `device`, or to the CPU where that finds eigenvalues sooner."""
        covariance = to_eigensolver(self.covariance.to(device))
        return Moments(self.mean.to(covariance.device), covariance, self.count)

    @cached_property
    def root(self) -> Tensor:
        """Symmetric square root of the covariance, float64 [D, D]."""
        values, vectors = torch.linalg.eigh(self.covariance)
        return torch.matmul(vectors * values.clamp(min=0).sqrt(), vectors.T)


def frechet_distance(a: Moments, b: Moments) -> float:
    """|m_a - m_b|^2 + tr(A) + tr(B) - 2 tr((A^1/2 B A^1/2)^1/2), zero or more, in squared units of the features.

    The squared 2-Wasserstein distance of two Gaussians (Dowson & Landau 1982), with Inception features the FID (Heusel
    et al. 2017, arXiv 1706.08500, equation 6).
    """
    shift = (a.mean - b.mean).square().sum()
    return max(0.0, float(shift + (a.covariance.trace() + b.covariance.trace() - 2 * _root_trace(a, b))))


def _root_trace(a: Moments, b: Moments) -> float:
    """tr((B^1/2 A B^1/2)^1/2), which is the nuclear norm of A^1/2 B^1/2."""
    if len(a.covariance) <= LAPACK_LIMIT:  # the norm takes no root of eigenvalues that rounding made negative
        return float(torch.linalg.svdvals(a.root @ b.root).sum())
    # Several times faster for large matrices. Negative eigenvalues count as 0, which moves the trace by less than
    # D sqrt(eps) times the largest.
    return float(torch.linalg.eigvalsh(b.root @ a.covariance @ b.root).clamp(min=0).sqrt().sum())


def relative_frechet_distance(generated: Moments, real: Moments) -> float:
    """Fréchet distance divided by tr(real.covariance), so that the scale of the features does not matter.

    A generator whose features all equal the mean of the real ones scores 1. Raises ValueError if the real features do
    not vary.
    """
    variance = float(real.covariance.trace())
    rounding = float((torch.finfo(torch.float64).eps * real.count * real.mean).square().sum())
    if variance <= rounding:
        raise ValueError("the features of the real images are all equal, so nothing can be measured against them")
    return frechet_distance(generated, real) / variance


def extrapolated_frechet_distance(generated: ArrayLike, real: Moments, *, sizes: int = 15, seed: int = 0) -> float:
    """Estimates the Fréchet distance of infinitely many generated images from N of them, features [N, D].

    FID_infinity of Chong & Forsyth 2020 (arXiv 1911.07023), section 3.1: the distance of n images is about c / n too
    high, where c depends on the generator. A line in 1 / n is fitted to `sizes` samples of N / 10 to N images, each
    without replacement, and evaluated at 1 / n = 0. The number of real images is not extrapolated. The result may be
    slightly negative. Raises ValueError unless N >= 20 and sizes >= 3.
    """
    features = as_features(generated)
    smallest = len(features) // 10
    if sizes < 3 or smallest < 2:
        raise ValueError(f"{len(features)} images in {sizes} sizes: at least 20 images and 3 sizes are needed")
    random = np.random.default_rng(seed)
    counts = np.linspace(smallest, len(features), sizes).round().astype(int)
    samples = (select_rows(features, random.permutation(len(features))[:count]) for count in counts)
    distances = [frechet_distance(Moments.of(sample), real) for sample in samples]
    return float(np.polynomial.Polynomial.fit(1 / counts, distances, 1)(0.0))
