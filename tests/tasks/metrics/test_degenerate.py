"""Every metric on too few images, on equal images, and on features with NaN or infinity."""

import warnings
from collections.abc import Callable

import numpy as np
import pytest

from tasks.metrics.bootstrap import Resampling, frechet_ratio
from tasks.metrics.diversity import vendi_score
from tasks.metrics.frechet import (
    Moments,
    extrapolated_frechet_distance,
    frechet_distance,
    relative_frechet_distance,
)
from tasks.metrics.kernel import kernel_distance, squared_mmd
from tasks.metrics.memorisation import MemorisationTest
from tasks.metrics.neighbours import membership

Metric = Callable[[np.ndarray, np.ndarray], float]
RESAMPLING = Resampling(20, 0.9, 0)


def normal(seed: int, count: int = 60) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, 6))


def constant(value: float, count: int = 60) -> np.ndarray:
    return np.full((count, 6), value)


def memorised(generated: np.ndarray, train: np.ndarray) -> float:
    return MemorisationTest(normal(7), train, neighbours=5)(generated).share


METRICS: dict[str, Metric] = {
    "frechet": lambda a, b: frechet_distance(Moments.of(a), Moments.of(b)),
    "relative": lambda a, b: relative_frechet_distance(Moments.of(a), Moments.of(b)),
    "extrapolated": lambda a, b: extrapolated_frechet_distance(a, Moments.of(b)),
    "ratio": lambda a, b: frechet_ratio(a, normal(8, len(a)) + 1, b, RESAMPLING).estimate,
    "mmd": squared_mmd,
    "kernel": lambda a, b: kernel_distance(a, b, subsets=5, subset_size=20, seed=0).mean,
    "neighbours": lambda a, b: membership(a, b, 5).scores().density,
    "memorisation": memorised,
    "vendi": lambda a, b: vendi_score(a) + vendi_score(b),
}
BOTH_SIDES = pytest.mark.parametrize("exchanged", [False, True], ids=["generated", "real"])
EVERY = pytest.mark.parametrize("name", METRICS)


def measured(name: str, odd: np.ndarray, exchanged: bool) -> float:
    """Computes the metric of odd features on one side and normal ones on the other."""
    return METRICS[name](normal(0), odd) if exchanged else METRICS[name](odd, normal(0))


@EVERY
@BOTH_SIDES
def test_normal_features_give_a_number(name: str, exchanged: bool) -> None:
    assert np.isfinite(measured(name, normal(1), exchanged))


@EVERY
@BOTH_SIDES
@pytest.mark.parametrize("count", [0, 1])
def test_fewer_than_two_images_are_refused(name: str, exchanged: bool, count: int) -> None:
    with pytest.raises(ValueError, match=rf"features have shape \({count}, 6\); expected \[N, D\] with N >= 2"):
        measured(name, normal(1, count), exchanged)


@EVERY
@BOTH_SIDES
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_and_infinity_are_refused(name: str, exchanged: bool, value: float) -> None:
    odd = normal(1)
    odd[30, 3] = value
    with pytest.raises(ValueError, match="features contain NaN or infinity"):
        measured(name, odd, exchanged)


@pytest.mark.parametrize("name", ["mmd", "kernel", "neighbours", "memorisation"])
@BOTH_SIDES
def test_features_of_two_networks_are_refused(name: str, exchanged: bool) -> None:
    with pytest.raises(ValueError, match="one network gives one length"):
        measured(name, normal(1)[:, :5], exchanged)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("extrapolated", "at least 20 images"),
        ("kernel", "5 subsets of 20 images from 3"),
        ("neighbours", "5 neighbours among 3 images"),
    ],
)
def test_errors_state_the_number_of_images(name: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        measured(name, normal(1, 3), exchanged=False)


@pytest.mark.parametrize("neighbours", [1, 60])
def test_the_number_of_neighbours_is_checked(neighbours: int) -> None:
    with pytest.raises(ValueError, match=f"{neighbours} neighbours among 60 training images"):
        MemorisationTest(normal(1), normal(2), neighbours=neighbours)


@EVERY
@pytest.mark.parametrize("value", [0.0, 1.0, 0.1])  # sums of 0.1 are not exact
def test_equal_generated_images_give_a_number(name: str, value: float) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isfinite(measured(name, constant(value), exchanged=False))


@pytest.mark.parametrize("name", [name for name in METRICS if name not in ("relative", "ratio")])
@pytest.mark.parametrize("value", [0.0, 1.0, 0.1])
def test_equal_real_images_give_a_number(name: str, value: float) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isfinite(measured(name, constant(value), exchanged=True))


@pytest.mark.parametrize("name", ["relative", "ratio"])
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_relative_distances_refuse_equal_real_images(name: str, value: float) -> None:
    with pytest.raises(ValueError, match="all equal"):
        measured(name, constant(value), exchanged=True)


def test_rounding_errors_are_not_taken_for_variance() -> None:
    with pytest.raises(ValueError, match="all equal"):
        measured("relative", constant(0.1), exchanged=True)


def test_equal_images_on_both_sides_differ_by_their_mean_alone() -> None:
    same, other = constant(0.1), constant(0.3)
    assert frechet_distance(Moments.of(same), Moments.of(same)) == pytest.approx(0, abs=1e-15)
    assert frechet_distance(Moments.of(same), Moments.of(other)) == pytest.approx(6 * 0.2**2)
    assert squared_mmd(same, same) == pytest.approx(0, abs=1e-12)
    assert squared_mmd(same, other) > 1e-3
    near, far = membership(same, same, 5).scores(), membership(same, other, 5).scores()
    assert (near.precision, near.recall, near.coverage) == (1, 1, 1)
    assert (far.precision, far.recall, far.density, far.coverage) == (0, 0, 0, 0)
    assert vendi_score(same) == pytest.approx(1)


def test_equal_training_images_are_not_flagged() -> None:
    """All neighbours are at the same distance, so that none is a copy."""
    found = MemorisationTest(constant(1.0), constant(1.0), neighbours=5)(constant(1.0))
    assert (found.share, found.flagged) == (0, False)
    assert 0 <= found.p_value <= 1
    assert (found.distance_ratios == 1).all()
