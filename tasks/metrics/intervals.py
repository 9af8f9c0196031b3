"""Confidence intervals for the metrics of one model."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import binomtest, norm

from tasks.metrics.bootstrap import Interval, Resampling, resample_counts, resample_rows, weighted_moments
from tasks.metrics.diversity import vendi_score
from tasks.metrics.features import Features, as_features, as_pair, select_rows
from tasks.metrics.frechet import Moments, extrapolated_frechet_distance, frechet_distance

CONFIDENCE = 0.95


def share_interval(share: float, count: int, confidence: float = CONFIDENCE) -> Interval:
    """Interval of a share of `count` images, valid near 0 and 1 too: Wilson 1927 (Brown et al. 2001, equation 4)."""
    found = binomtest(round(share * count), count).proportion_ci(confidence, method="wilson")
    return Interval(share, float(found.low), float(found.high))


def mean_interval(values: ArrayLike, confidence: float = CONFIDENCE) -> Interval:
    """Normal interval of the mean of one value per image; infinitely wide for a single value."""
    each = np.asarray(values, np.float64)
    error = float(each.std(ddof=1) / np.sqrt(len(each))) if len(each) > 1 else float("inf")
    return normal_interval(float(each.mean()), error, confidence)


def normal_interval(estimate: float, standard_error: float, confidence: float = CONFIDENCE) -> Interval:
    """Interval of an estimate with a normal error."""
    reach = float(norm.ppf((1 + confidence) / 2)) * standard_error
    return Interval(estimate, estimate - reach, estimate + reach)


def frechet_intervals(
    generated: ArrayLike, real: ArrayLike, train: Moments, resampling: Resampling
) -> tuple[Interval, Interval, Interval]:
    """Intervals of the Fréchet and relative Fréchet distance of [N, D] to `real` [M, D], and of the first to `train`.

    Each resample takes N generated and M real images with replacement; `train` stays. Resampled distances are biased
    upwards by about as much as the estimate is, so their scatter is centred on the estimate.
    """
    first, second = as_pair(generated, real)
    centre, train = second.mean(dim=0), train.to(second.device)
    first, second = first - centre, second - centre
    train = replace(train, mean=train.mean - centre.to(train.mean.device))

    def distances(sample: Moments, truth: Moments) -> tuple[float, float, float]:
        distance = frechet_distance(sample, truth)
        return distance, distance / float(truth.covariance.trace()), frechet_distance(sample, train)

    estimates, random = distances(Moments.of(first), Moments.of(second)), np.random.default_rng(resampling.seed)
    resampled = []
    for _ in range(resampling.samples):
        moments = (weighted_moments(side, resample_counts(len(side), random)) for side in (first, second))
        resampled.append(distances(*moments))
    found = [_centred_interval(*each, resampling) for each in zip(estimates, np.transpose(resampled), strict=True)]
    return found[0], found[1], found[2]


def extrapolated_interval(generated: ArrayLike, real: Moments, resampling: Resampling) -> Interval:
    """Bootstrap interval of the extrapolated Fréchet distance of features [N, D]."""
    distance = partial(extrapolated_frechet_distance, real=real, seed=resampling.seed)
    return _normal_bootstrap(as_features(generated), distance, resampling)


def vendi_interval(generated: ArrayLike, resampling: Resampling) -> Interval:
    """Bootstrap interval of the Vendi score of features [N, D]."""
    return _normal_bootstrap(as_features(generated), vendi_score, resampling)


def _normal_bootstrap(features: Features, metric: Callable[[Features], float], resampling: Resampling) -> Interval:
    """Normal interval whose standard error is the deviation of the metric over resamples of the N images."""
    random, count = np.random.default_rng(resampling.seed), len(features)
    resampled = [metric(select_rows(features, resample_rows(count, random))) for _ in range(resampling.samples)]
    return normal_interval(metric(features), float(np.std(resampled, ddof=1)), resampling.confidence)


def _centred_interval(estimate: float, resampled: NDArray[np.float64], resampling: Resampling) -> Interval:
    """Percentile interval of the resampled values, moved to the estimate; its ends are not negative."""
    found = resampling.interval(estimate, estimate + resampled - resampled.mean())
    return Interval(estimate, max(0.0, found.low), found.high)
