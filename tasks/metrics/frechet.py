"""Fréchet distance between the Gaussians that fit two sets of features."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from tasks.metrics.features import LAPACK, as_features, for_eigenvalues, taken


@dataclass(frozen=True)
class Moments:
    """The Gaussian that fits `count` features: mean float64 [D], unbiased covariance float64 [D, D]."""

    mean: Tensor
    covariance: Tensor
    count: int

    @classmethod
    def of(cls, features: ArrayLike) -> "Moments":
        """Moments of features [N, D], the covariance divided by N - 1; raises ValueError when N < 2 or not finite."""
        rows = as_features(features)
        mean = rows.mean(dim=0)
        centred = rows - mean
        return cls(mean, centred.T @ centred / (len(rows) - 1), len(rows)).placed(rows.device)

    def placed(self, device: torch.device) -> "Moments":
        """The same on `device`, or on the CPU where that takes eigenvalues sooner."""
        covariance = for_eigenvalues(self.covariance.to(device))
        return Moments(self.mean.to(covariance.device), covariance, self.count)

    @cached_property
    def root(self) -> Tensor:
        """Symmetric square root of the covariance, float64 [D, D], by eigendecomposition."""
        values, vectors = torch.linalg.eigh(self.covariance)
        root: Tensor = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
        return root


def frechet_distance(a: Moments, b: Moments) -> float:
    """Squared 2-Wasserstein distance of two Gaussians, in squared units of the features; zero or more.

    |m_a - m_b|^2 + tr(A) + tr(B) - 2 tr((A^1/2 B A^1/2)^1/2): Dowson & Landau 1982; as a score of generators
    Heusel et al. 2017 (arXiv 1706.08500), equation 6.
    """
    shift = (a.mean - b.mean).square().sum()
    return max(0.0, float(shift + (a.covariance.trace() + b.covariance.trace() - 2 * _overlap(a, b))))


def _overlap(a: Moments, b: Moments) -> Tensor:
    """tr((B^1/2 A B^1/2)^1/2), a scalar.

    Of small matrices as the nuclear norm of A^1/2 B^1/2, which is the same number without the root of eigenvalues that
    rounding made negative. Of large ones by the eigenvalues alone, several times sooner than two roots and the singular
    values: only B needs its root, and a negative eigenvalue counts as 0, which moves the trace by less than D sqrt(eps)
    of the largest.
    """
    if len(a.covariance) <= LAPACK:
        nuclear: Tensor = torch.linalg.svdvals(a.root @ b.root).sum()
        return nuclear
    eigenvalues: Tensor = torch.linalg.eigvalsh(b.root @ a.covariance @ b.root)
    return eigenvalues.clamp(min=0).sqrt().sum()


def relative_frechet_distance(generated: Moments, real: Moments) -> float:
    """Fréchet distance in units of the real features' total variance, tr(covariance); free of the features' scale.

    1 is what a generator scores that always gives the mean of the real images. Raises ValueError when the real
    features do not vary.
    """
    variance = float(real.covariance.trace())
    rounding = float((torch.finfo(torch.float64).eps * real.count * real.mean).square().sum())
    if variance <= rounding:
        raise ValueError("the features of the real images are all equal, so nothing can be measured against them")
    return frechet_distance(generated, real) / variance


def extrapolated_frechet_distance(generated: ArrayLike, real: Moments, *, sizes: int = 15, seed: int = 0) -> float:
    """Fréchet distance that infinitely many generated images would have, from N of them with features [N, D].

    A distance from n images lies about c / n too high, with a c of each generator's own. `sizes` sample sizes, evenly
    spaced from N / 10 to N, each drawn without replacement, are fitted by a straight line in 1 / n whose value at 0 is
    returned: Chong & Forsyth 2020 (arXiv 1911.07023), section 3.1. The real images' own number is not extrapolated.
    May be slightly below zero. Raises ValueError unless there are 3 sizes or more and N / 10 >= 2.
    """
    features = as_features(generated)
    least = len(features) // 10
    if sizes < 3 or least < 2:
        raise ValueError(f"{len(features)} images in {sizes} sizes: at least 20 images and 3 sizes are needed")
    random = np.random.default_rng(seed)
    counts = np.linspace(least, len(features), sizes).round().astype(int)
    parts = (taken(features, random.permutation(len(features))[:count]) for count in counts)
    distances = [frechet_distance(Moments.of(part), real) for part in parts]
    return float(np.polynomial.Polynomial.fit(1 / counts, distances, 1)(0.0))
