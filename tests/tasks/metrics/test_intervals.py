"""Intervals against closed forms, and their coverage."""

import numpy as np
import pytest

from tasks.metrics.bootstrap import Resampling
from tasks.metrics.diversity import vendi_score
from tasks.metrics.frechet import Moments, extrapolated_frechet_distance, frechet_distance
from tasks.metrics.intervals import (
    extrapolated_interval,
    frechet_intervals,
    mean_interval,
    share_interval,
    vendi_interval,
)

RESAMPLING = Resampling(samples=100, confidence=0.95, seed=0)
TRAIN = Moments.of(np.random.default_rng(99).standard_normal((4000, 3)))


def normal(seed: int, count: int, shift: float = 0.0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, 3)) + shift


@pytest.mark.parametrize(("hits", "low", "high"), [(0, 0.0, 0.08762), (7, 0.08745, 0.3195), (40, 0.91238, 1.0)])
def test_the_interval_of_a_share_is_wilsons(hits: int, low: float, high: float) -> None:
    ours = share_interval(hits / 40, 40)
    assert (ours.low, ours.high) == (pytest.approx(low, abs=1e-5), pytest.approx(high, abs=1e-5))


def test_the_interval_of_a_mean_has_the_stated_coverage() -> None:
    found = [mean_interval(np.random.default_rng(seed).standard_normal(50)) for seed in range(1000)]
    covered = sum(one.low <= 0 <= one.high for one in found)
    assert 0.92 < covered / 1000 < 0.97


def test_the_interval_of_one_value_is_infinite() -> None:
    assert mean_interval([3.0]).high == np.inf


def test_the_interval_of_a_distance_holds_the_mean_of_other_samples() -> None:
    """Nearly all intervals of 60 pairs of samples hold the mean distance of all pairs."""
    pairs = [(normal(2 * seed, 400, shift=0.4), normal(2 * seed + 1, 400)) for seed in range(60)]
    centre = np.mean([frechet_distance(Moments.of(a), Moments.of(b)) for a, b in pairs])
    found = [frechet_intervals(a, b, TRAIN, RESAMPLING) for a, b in pairs]
    assert sum(test.low <= centre <= test.high for test, _, _ in found) >= 51
    for (generated, real), (test, relative, train) in zip(pairs[:3], found[:3], strict=True):
        truth = Moments.of(real)
        distance = frechet_distance(Moments.of(generated), truth)
        assert test.estimate == pytest.approx(distance)
        assert relative.estimate == pytest.approx(distance / np.trace(truth.covariance))
        assert train.estimate == pytest.approx(frechet_distance(Moments.of(generated), TRAIN))


def test_the_deviation_over_resamples_is_that_over_samples() -> None:
    real = Moments.of(normal(1, 5000))
    samples = [normal(seed, 500, shift=0.4) for seed in range(100, 140)]
    reach = 2 * 1.96
    extrapolated = extrapolated_interval(samples[0], real, RESAMPLING)
    deviation = np.std([extrapolated_frechet_distance(one, real) for one in samples])
    assert (extrapolated.high - extrapolated.low) / reach == pytest.approx(deviation, rel=0.6)
    vendi = vendi_interval(samples[0], RESAMPLING)
    assert (vendi.high - vendi.low) / reach == pytest.approx(np.std([vendi_score(one) for one in samples]), rel=0.6)
