"""Whether the intervals hold what they promise, and whether pairing narrows them."""

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


def test_a_model_is_as_good_as_itself_and_surely_so() -> None:
    assert astuple(ratio(normal(1), normal(1))) == pytest.approx((1, 1, 1), abs=1e-9)


def test_fresh_images_of_one_law_are_told_apart_as_often_as_promised() -> None:
    """Of 40 intervals at 95 %, 2 miss a ratio of 1 on average; more than 6 has a chance of 0.3 %."""
    missed = 0
    for trial in range(40):
        found = ratio(normal(100 + 2 * trial), normal(101 + 2 * trial))
        missed += not found.low <= 1 <= found.high
    assert missed <= 6


def test_pairs_narrow_the_interval() -> None:
    """The same noise through two generators that differ a little: their common luck cancels."""
    live = normal(1)
    paired, apart = ratio(live + 0.02, live), ratio(normal(2) + 0.02, live)
    assert paired.high - paired.low < 0.3 * (apart.high - apart.low)
    assert paired.low > 1


def test_a_difference_of_means_has_the_interval_of_the_central_limit() -> None:
    random = np.random.default_rng(0)
    first, second = random.random(2000) < 0.8, random.random(2000) < 0.75
    found = mean_difference(first, second, Resampling(2000, 0.95, 0))
    error = (first.astype(float) - second).std(ddof=1) / np.sqrt(2000)
    assert found.estimate == pytest.approx(first.mean() - second.mean())
    assert found.high - found.low == pytest.approx(2 * 1.96 * error, rel=0.1)


def test_refuses_pairs_that_are_none_and_a_live_model_at_no_distance() -> None:
    with pytest.raises(ValueError, match="500 images against 400"):
        ratio(normal(1), normal(2, 400))
    with pytest.raises(ValueError, match="real ones"):
        ratio(normal(1), normal(0, shift=0.0))
