"""Bootstrap intervals for the comparison of two generators on the same images."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from tasks.metrics.features import Features, as_pair
from tasks.metrics.frechet import Moments, relative_frechet_distance

Counts = NDArray[np.int64]
ROUNDING = 1e-12  # a relative distance that rounding alone makes


@dataclass(frozen=True)
class Interval:
    """An estimate and the two ends of its confidence interval."""

    estimate: float
    low: float
    high: float


@dataclass(frozen=True)
class Resampling:
    """The settings of a bootstrap: number of resamples, confidence of the interval, and seed."""

    samples: int
    confidence: float
    seed: int

    def interval(self, estimate: float, resampled: ArrayLike) -> Interval:
        """Returns the percentile interval: the middle `confidence` of the resampled values.

        The quantile p of R values is taken at rank p (R + 1) (Hyndman & Fan 1996, definition 6), so that one more
        value falls inside with probability `confidence`. NumPy's default rank, p (R - 1) + 1, would make 95 % of 100
        values 93 %.
        """
        ends = [(1 - self.confidence) / 2, (1 + self.confidence) / 2]
        low, high = np.quantile(np.asarray(resampled), ends, method="weibull")
        return Interval(estimate, float(low), float(high))


def frechet_ratio(candidate: ArrayLike, live: ArrayLike, real: ArrayLike, resampling: Resampling) -> Interval:
    """Relative Fréchet distance of `candidate` [N, D] divided by that of `live` [N, D], both to `real` [M, D].

    Paired bootstrap (Efron & Tibshirani 1993, chapter 16): each resample takes N rows with replacement, the same of
    both generators, whose row i comes from the same noise, and M rows of the real images, the same for both. A
    resampled distance is biased upwards (Chong & Forsyth 2020, arXiv 1911.07023). Most of the bias cancels in the
    ratio; subtracting the mean of the log-ratios removes the rest, so that their deviations alone make the interval. Of
    1,000 intervals at 95 % for two samples of one distribution, 955, 942 and 914 held 1 where the bias was 4 %, 20 %
    and 56 % of the distance; a larger share needs more images. Raises ValueError if N differs or the live
    distance is 0.
    """
    first, truth = as_pair(candidate, real)
    second, _ = as_pair(live, real)
    centre = truth.mean(dim=0)  # distances do not depend on it, and moments of values about 0 are accurate
    first, second, truth = first - centre, second - centre, truth - centre
    if len(first) != len(second):
        raise ValueError(f"{len(first)} images against {len(second)}; a paired comparison needs as many of both")
    estimate = _log_ratio(Moments.of(first), Moments.of(second), Moments.of(truth))
    random, log_ratios = np.random.default_rng(resampling.seed), []
    for _ in range(resampling.samples):
        counts, real_counts = resample_counts(len(first), random), resample_counts(len(truth), random)
        sides = ((first, counts), (second, counts), (truth, real_counts))
        log_ratios.append(_log_ratio(*(weighted_moments(*side) for side in sides)))
    resampled = np.array(log_ratios)
    return resampling.interval(float(np.exp(estimate)), np.exp(estimate + resampled - resampled.mean()))


def mean_difference(candidate: ArrayLike, live: ArrayLike, resampling: Resampling) -> Interval:
    """Mean of `candidate` [M] minus mean of `live` [M], by a paired bootstrap over the M images of both."""
    differences = np.asarray(candidate, np.float64) - np.asarray(live, np.float64)
    random, count = np.random.default_rng(resampling.seed), len(differences)
    resampled = [differences[resample_rows(count, random)].mean() for _ in range(resampling.samples)]
    return resampling.interval(float(differences.mean()), resampled)


def _log_ratio(candidate: Moments, live: Moments, real: Moments) -> float:
    distance = relative_frechet_distance(live, real)
    if distance <= ROUNDING:
        raise ValueError("the live model's images are the real ones, so no ratio to it exists")
    return float(np.log(max(relative_frechet_distance(candidate, real), ROUNDING) / distance))


def resample_rows(count: int, random: np.random.Generator) -> NDArray[np.int64]:
    """Draws `count` row numbers with replacement, int64 [count]."""
    return random.integers(0, count, count)


def resample_counts(count: int, random: np.random.Generator) -> Counts:
    """Counts how often each of `count` rows occurs in one resample, int64 [count]."""
    return np.bincount(resample_rows(count, random), minlength=count)


def weighted_moments(features: Features, counts: Counts) -> Moments:
    """Moments of a resample that holds row i of features [N, D], centred about 0, counts[i] times."""
    total = int(counts.sum())
    weights = torch.from_numpy(counts).to(features)
    mean = weights @ features / total
    products = (features * weights[:, None]).T @ features
    return Moments(mean, (products - total * torch.outer(mean, mean)) / (total - 1), total).to(features.device)
