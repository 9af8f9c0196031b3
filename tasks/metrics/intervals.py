"""How sure one model's figures are: intervals of shares, of means, and of what follows from moments."""

from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import norm
from torch import Tensor

from tasks.metrics.bootstrap import Interval, Resampling, weighted_moments
from tasks.metrics.diversity import vendi_score
from tasks.metrics.features import Features, as_features, as_pair, taken
from tasks.metrics.frechet import Moments, extrapolated_frechet_distance, frechet_distance

CONFIDENCE = 0.95


def share_interval(share: float, count: int, confidence: float = CONFIDENCE) -> Interval:
    """Of a share among `count` images, sound near 0 and 1 too: Wilson 1927, as in Brown et al. 2001, equation 4."""
    z = float(norm.ppf((1 + confidence) / 2))
    middle, spread = share + z * z / (2 * count), z * np.sqrt(share * (1 - share) / count + (z / (2 * count)) ** 2)
    whole = 1 + z * z / count
    return Interval(share, max(0.0, float(middle - spread) / whole), min(1.0, float(middle + spread) / whole))


def mean_interval(values: ArrayLike, confidence: float = CONFIDENCE) -> Interval:
    """Of the mean of two or more values, each of another image."""
    each = np.asarray(values, np.float64)
    error = float(each.std(ddof=1) / np.sqrt(len(each))) if len(each) > 1 else float("inf")
    return normal_interval(float(each.mean()), error, confidence)


def normal_interval(estimate: float, standard_error: float, confidence: float = CONFIDENCE) -> Interval:
    """Of an estimate whose error is normal."""
    reach = float(norm.ppf((1 + confidence) / 2)) * standard_error
    return Interval(estimate, estimate - reach, estimate + reach)


def frechet_intervals(
    generated: ArrayLike, real: ArrayLike, train: Moments, how: Resampling
) -> tuple[Interval, Interval, Interval]:
    """Of the Fréchet distance of features [N, D] to real ones [M, D], the same over their variance, and to `train`.

    Every draw takes N generated and M real images with replacement; `train` stays. Resampled distances lie too high
    by about what the sample itself does, so their scatter is laid around the estimate.
    """
    first, second = as_pair(generated, real)
    middle = second.mean(dim=0)
    first, second, train = first - middle, second - middle, _about(train.placed(second.device), middle)
    whole, truth, random = Moments.of(first), Moments.of(second), np.random.default_rng(how.seed)
    draws = []
    for _ in range(how.samples):
        ours, theirs = _drawn(first, random), _drawn(second, random)
        distance = frechet_distance(ours, theirs)
        draws.append((distance, distance / float(theirs.covariance.trace()), frechet_distance(ours, train)))
    distance = frechet_distance(whole, truth)
    estimates = (distance, distance / float(truth.covariance.trace()), frechet_distance(whole, train))
    found = [_around(estimate, each, how) for estimate, each in zip(estimates, np.transpose(draws), strict=True)]
    return found[0], found[1], found[2]


def extrapolated_interval(generated: ArrayLike, real: Moments, how: Resampling) -> Interval:
    """Of the extrapolated distance of features [N, D], by the scatter of draws of N of them with replacement."""
    features, random = as_features(generated), np.random.default_rng(how.seed)
    estimate = extrapolated_frechet_distance(features, real, seed=how.seed)
    parts = (taken(features, _rows(len(features), random)) for _ in range(how.samples))
    draws = [extrapolated_frechet_distance(part, real, seed=how.seed) for part in parts]
    return normal_interval(estimate, float(np.std(draws, ddof=1)), how.confidence)


def vendi_interval(generated: ArrayLike, how: Resampling) -> Interval:
    """Of the Vendi score of features [N, D], by the scatter of draws of N of them with replacement."""
    features, random = as_features(generated), np.random.default_rng(how.seed)
    draws = [vendi_score(taken(features, _rows(len(features), random))) for _ in range(how.samples)]
    return normal_interval(vendi_score(features), float(np.std(draws, ddof=1)), how.confidence)


def _about(moments: Moments, middle: Tensor) -> Moments:
    return replace(moments, mean=moments.mean - middle.to(moments.mean.device))


def _drawn(features: Features, random: np.random.Generator) -> Moments:
    return weighted_moments(features, np.bincount(_rows(len(features), random), minlength=len(features)))


def _rows(count: int, random: np.random.Generator) -> NDArray[np.int64]:
    return random.integers(0, count, count)


def _around(estimate: float, draws: ArrayLike, how: Resampling) -> Interval:
    """The scatter of the draws about their own mean, laid around the estimate of something that is never negative."""
    values = np.asarray(draws)
    found = how.interval(estimate, estimate + values - values.mean())
    return Interval(estimate, max(0.0, found.low), found.high)
