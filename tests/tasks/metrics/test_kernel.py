"""The kernel distance against torchmetrics and a double loop, and its bias."""

import numpy as np
import pytest
import torch
from torchmetrics.image.kid import KernelInceptionDistance

from tasks.metrics import kernel
from tasks.metrics.kernel import kernel_distance, squared_mmd


class PassThrough(torch.nn.Module):
    """A feature network whose features are its input."""

    num_features = 5

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return features


def normal(seed: int, count: int, shift: float = 0.0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, 5)) + shift


def double_loop(a: np.ndarray, b: np.ndarray) -> float:
    """Gretton et al. 2012, equation 3, as in the paper."""

    def mean(left: np.ndarray, right: np.ndarray, without_self: bool) -> float:
        pairs = [(i, j) for i in range(len(left)) for j in range(len(right)) if not (without_self and i == j)]
        return float(np.mean([(left[i] @ right[j] / len(left[i]) + 1) ** 3 for i, j in pairs]))

    return mean(a, a, True) + mean(b, b, True) - 2 * mean(a, b, False)


def test_equals_a_double_loop_with_unequal_numbers() -> None:
    a, b = normal(0, 12), normal(1, 9, 0.5)
    assert squared_mmd(a, b) == pytest.approx(double_loop(a, b), rel=1e-10)
    assert squared_mmd(a, b) == pytest.approx(squared_mmd(b, a), rel=1e-10)


def test_equals_torchmetrics() -> None:
    real, generated = normal(0, 200), normal(1, 200, 0.3)
    peer = KernelInceptionDistance(feature=PassThrough(), subsets=1, subset_size=200)
    peer.update(torch.from_numpy(real), real=True)
    peer.update(torch.from_numpy(generated), real=False)
    mean, _ = peer.compute()
    assert squared_mmd(generated, real) == pytest.approx(float(mean), rel=1e-5)


def test_the_block_size_does_not_change_it(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = normal(0, 100), normal(1, 100, 0.2)
    whole = squared_mmd(a, b)
    monkeypatch.setattr(kernel, "BLOCK", 7)
    assert squared_mmd(a, b) == pytest.approx(whole, rel=1e-9)


def test_equal_distributions_give_zero_on_average() -> None:
    """The mean of 200 unbiased values is within four standard errors of 0; a biased one would be 0.5 too high."""
    values = np.array([squared_mmd(normal(2 * i, 40), normal(2 * i + 1, 40)) for i in range(200)])
    error = values.std(ddof=1) / np.sqrt(len(values))
    assert abs(values.mean()) < 4 * error
    assert 0.3 < (values < 0).mean() < 0.9
    assert kernel_distance(normal(0, 400), normal(0, 400), subsets=10, subset_size=50, seed=0).mean < 4 * error


def test_subsets_follow_the_seed() -> None:
    a, b = normal(0, 300), normal(1, 300, 0.3)
    first = kernel_distance(a, b, subsets=20, subset_size=60, seed=0)
    assert first == kernel_distance(a, b, subsets=20, subset_size=60, seed=0)
    assert first != kernel_distance(a, b, subsets=20, subset_size=60, seed=1)
    assert first.mean == pytest.approx(squared_mmd(a, b), abs=4 * first.standard_error)


def test_the_standard_error_is_the_deviation_over_new_samples() -> None:
    """It is that of forty pairs of pools within a factor of 1.5; s / sqrt(S) would be a third of it."""
    pools = [(normal(2 * i, 400), normal(2 * i + 1, 400, 0.3)) for i in range(40)]
    scores = [kernel_distance(a, b, subsets=40, subset_size=100, seed=0) for a, b in pools]
    deviation = np.std([score.mean for score in scores], ddof=1)
    stated = np.mean([score.standard_error for score in scores])
    assert 1 / 1.5 < stated / deviation < 1.5


@pytest.mark.parametrize(("subsets", "subset_size"), [(2, 2), (2, 50)])
def test_accepts_the_smallest_and_the_largest_subsets(subsets: int, subset_size: int) -> None:
    found = kernel_distance(normal(0, 100), normal(1, 120), subsets=subsets, subset_size=subset_size, seed=0)
    assert found.standard_error > 0


@pytest.mark.parametrize(("subsets", "subset_size"), [(1, 10), (10, 1), (10, 51)])
def test_refuses_too_few_and_too_large_subsets(subsets: int, subset_size: int) -> None:
    with pytest.raises(ValueError, match="2 to 50 images"):
        kernel_distance(normal(0, 100), normal(1, 120), subsets=subsets, subset_size=subset_size, seed=0)


def test_refuses_features_of_two_networks() -> None:
    with pytest.raises(ValueError, match="lengths 5 and 4"):
        squared_mmd(normal(0, 10), normal(1, 10)[:, :4])
