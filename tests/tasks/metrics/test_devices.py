"""Metrics on a CPU equal those of an earlier version in NumPy and SciPy; metrics on a GPU equal those on a CPU."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from tasks.metrics.bootstrap import Interval, Resampling, frechet_ratio
from tasks.metrics.diversity import vendi_score
from tasks.metrics.features import LAPACK_LIMIT
from tasks.metrics.frechet import Moments, extrapolated_frechet_distance, frechet_distance, relative_frechet_distance
from tasks.metrics.intervals import extrapolated_interval, frechet_intervals, vendi_interval
from tasks.metrics.kernel import kernel_distance
from tasks.metrics.memorisation import MemorisationTest
from tasks.metrics.neighbours import membership
from tests.pretended import There, pretended_gpu

RESAMPLING = Resampling(samples=20, confidence=0.9, seed=3)
# Values of the same functions in NumPy and SciPy.
EXPECTED = {
    "frechet": 0.9139373309,
    "relative": 0.1494003415,
    "extrapolated": 0.8582694302,
    "ratio.low": 1.630726967,
    "ratio.high": 2.990344142,
    "test.low": 0.6717117683,
    "test.high": 1.179244129,
    "relative_interval.low": 0.1107063823,
    "relative_interval.high": 0.2016509713,
    "train.low": 0.3172406736,
    "train.high": 0.5865315587,
    "extrapolated_interval.low": 0.7207292667,
    "extrapolated_interval.high": 1.110959122,
    "vendi": 5.919897649,
    "vendi_interval.low": 5.872400363,
    "vendi_interval.high": 5.967394935,
    "kernel": 0.5255847398,
    "kernel_error": 0.1334540844,
    "precision": 0.9733333333,
    "recall": 0.908,
    "density": 1.061333333,
    "coverage": 0.94,
    "copies": 0.01,
    "copies_p": 0.09661174232,
    "distance_ratios": 239.0274773,
    "nearest": 59066,
}


def features(seed: int, count: int, shift: float = 0.0, scale: float = 1.0) -> np.ndarray:
    values: np.ndarray = shift + scale * np.random.default_rng(seed).standard_normal((count, 6))
    return values


def metrics(place: Callable[[np.ndarray], Tensor]) -> dict[str, float]:
    """Computes every metric and the ends of every interval, of features that `place` moves to a device."""
    given, live, real, train = map(
        place, (features(0, 300, 0.3, 0.9), features(1, 300, 0.2), features(2, 250), features(3, 400))
    )
    first, second, third = Moments.of(given), Moments.of(real), Moments.of(train)
    near, kernel = membership(given, real, 5).scores(), kernel_distance(given, real, subsets=8, subset_size=50, seed=1)
    copies = MemorisationTest(real, train, neighbours=5)(given)
    test, relative, against_train = frechet_intervals(given, real, third, RESAMPLING)
    found: dict[str, float | Interval] = {
        "frechet": frechet_distance(first, second),
        "relative": relative_frechet_distance(first, second),
        "extrapolated": extrapolated_frechet_distance(given, second),
        "ratio": frechet_ratio(given, live, real, RESAMPLING),
        "test": test,
        "relative_interval": relative,
        "train": against_train,
        "extrapolated_interval": extrapolated_interval(given, second, RESAMPLING),
        "vendi": vendi_score(given),
        "vendi_interval": vendi_interval(given, RESAMPLING),
        "kernel": kernel.mean,
        "kernel_error": kernel.standard_error,
        "precision": near.precision,
        "recall": near.recall,
        "density": near.density,
        "coverage": near.coverage,
        "copies": copies.share,
        "copies_p": copies.p_value,
        "distance_ratios": float(copies.distance_ratios.sum()),
        "nearest": float(copies.nearest.sum()),
    }
    return {f"{name}.{key}".rstrip("."): value for name, one in found.items() for key, value in _parts(one).items()}


def _parts(one: float | Interval) -> dict[str, float]:
    return {"low": one.low, "high": one.high} if isinstance(one, Interval) else {"": one}


def test_metrics_on_a_cpu_are_those_of_before() -> None:
    assert metrics(torch.from_numpy) == pytest.approx(EXPECTED, rel=1e-6)


def test_metrics_are_computed_on_the_device_of_the_features() -> None:
    with pretended_gpu() as device:
        assert metrics(lambda rows: torch.from_numpy(rows).to(device)) == pytest.approx(EXPECTED, rel=1e-6)


def test_generated_features_move_to_the_device_of_the_real_ones() -> None:
    given, real = features(0, 60), features(1, 60)
    with pretended_gpu() as device:
        found = membership(given, torch.from_numpy(real).to(device), 5).scores()
    assert found == membership(given, real, 5).scores()


def test_the_pretended_gpu_refuses_tensors_on_the_cpu() -> None:
    with pretended_gpu() as device:
        there = torch.ones(3, device=device)
        assert not isinstance(there.cpu(), There)
        assert float((there + torch.ones(3).to(device)).sum()) == 6
        with pytest.raises(RuntimeError, match="on a GPU and on the CPU"):
            there + torch.ones(3)
        with pytest.raises(RuntimeError, match="numpy"):
            there.numpy()


@pytest.mark.gpu
def test_metrics_on_a_gpu_equal_those_on_a_cpu() -> None:
    assert metrics(lambda rows: torch.from_numpy(rows).cuda()) == pytest.approx(EXPECTED, rel=1e-6)


@pytest.mark.gpu
def test_long_features_keep_their_eigenvalues_on_the_gpu() -> None:
    rows = [np.random.default_rng(seed).standard_normal((800, LAPACK_LIMIT + 1)) for seed in range(2)]
    on_gpu = [Moments.of(torch.from_numpy(each).cuda()) for each in rows]
    assert on_gpu[0].covariance.is_cuda
    assert frechet_distance(*on_gpu) == pytest.approx(frechet_distance(*map(Moments.of, rows)), rel=1e-6)
