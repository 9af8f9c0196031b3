"""The coverage of the bootstrap intervals, and the effect of pairing."""

from dataclasses import astuple

import numpy as np
import pytest

from tasks.metrics.bootstrap import Interval, Resampling, frechet_ratio, mean_difference
from tasks.metrics.frechet import Moments, relative_frechet_distance


def normal(seed: int, count: int = 500, shift: float = 0.5) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, 4)) + shift


def ratio(candidate: np.ndarray, live: np.ndarray, seed: int = 0) -> Interval:
    return frechet_ratio(candidate, live, normal(0, shift=0.0), Resampling(100, 0.95, seed))


def test_estimates_the_ratio_of_the_distances() -> None:
    first, second, real = normal(1, shift=0.7), normal(2), normal(0, shift=0.0)
    distances = [relative_frechet_distance(Moments.of(each), Moments.of(real)) for each in (first, second)]
    found = ratio(first, second)
    assert found.estimate == pytest.approx(distances[0] / distances[1])
    assert found.low < found.estimate < found.high
    assert found == ratio(first, second)
    assert found != ratio(first, second, seed=1)


def test_the_ratio_of_a_model_to_itself_is_one_without_error() -> None:
    assert astuple(ratio(normal(1), normal(1))) == pytest.approx((1, 1, 1), abs=1e-9)


@pytest.mark.parametrize("samples", [100, 399])
def test_an_interval_holds_its_share_of_the_resampled_values(samples: int) -> None:
    """One more value falls inside with 95 %: 0.025 (R + 1) of R values are beyond either end."""
    found = Resampling(samples, 0.95, 0).interval(0.0, np.random.default_rng(0).permutation(samples))
    assert (found.low + 1, samples - found.high) == pytest.approx((0.025 * (samples + 1), 0.025 * (samples + 1)))


def test_intervals_for_one_distribution_miss_one_as_often_as_stated() -> None:
    """Of 100 intervals at 95 %, 5 miss a ratio of 1 with a deviation of 2.2, half of them on either side."""
    found = [ratio(normal(100 + 2 * trial), normal(101 + 2 * trial)) for trial in range(100)]
    better, worse = sum(one.high < 1 for one in found), sum(one.low > 1 for one in found)
    assert 1 <= better + worse <= 5 + 3 * 2.2
    assert max(better, worse) <= 2.5 + 3 * 1.6


def test_paired_intervals_hold_the_true_ratio_as_often_as_stated() -> None:
    """Two distributions with known distances to N(0, I), from the same noise, with other real images each time.

    |m|^2 + D (s - 1)^2 (Dowson & Landau 1982) is 1 in 4 dimensions for mean 0.5 and scale 1, 1.25 for 0.55 and 1.1.
    """
    missed, resampling = 0, Resampling(100, 0.95, 0)
    for trial in range(100):
        noise, real = normal(1000 + 2 * trial, 1000, shift=0.0), normal(1001 + 2 * trial, 1000, shift=0.0)
        found = frechet_ratio(0.55 + 1.1 * noise, 0.5 + noise, real, resampling)
        missed += not found.low <= 1.25 <= found.high
    assert 1 <= missed <= 5 + 3 * 2.2


def test_pairing_narrows_the_interval() -> None:
    """The errors of two similar generators with the same noise cancel."""
    live = normal(1)
    paired, unpaired = ratio(live + 0.02, live), ratio(normal(2) + 0.02, live)
    assert paired.high - paired.low < 0.3 * (unpaired.high - unpaired.low)
    assert paired.low > 1


def test_a_difference_of_means_has_the_normal_interval() -> None:
    random = np.random.default_rng(0)
    first, second = random.random(2000) < 0.8, random.random(2000) < 0.75
    found = mean_difference(first, second, Resampling(2000, 0.95, 0))
    error = (first.astype(float) - second).std(ddof=1) / np.sqrt(2000)
    assert found.estimate == pytest.approx(first.mean() - second.mean())
    assert found.high - found.low == pytest.approx(2 * 1.96 * error, rel=0.1)


def test_refuses_unequal_numbers_and_a_live_distance_of_zero() -> None:
    with pytest.raises(ValueError, match="500 images against 400"):
        ratio(normal(1), normal(2, 400))
    with pytest.raises(ValueError, match="real ones"):
        ratio(normal(1), normal(0, shift=0.0))
