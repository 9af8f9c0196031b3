"""Closed forms, and the order of arguments: no metric exchanges generated and real images."""

import numpy as np
import pytest
import torch

from tasks.metrics.frechet import Moments, extrapolated_frechet_distance, frechet_distance, relative_frechet_distance
from tasks.metrics.kernel import kernel_distance
from tasks.metrics.memorisation import MemorisationTest
from tasks.metrics.neighbours import membership


def normal(seed: int, count: int, scale: float = 1.0, shift: float = 0.0) -> np.ndarray:
    return scale * np.random.default_rng(seed).standard_normal((count, 6)) + shift


def rotation(seed: int, length: int) -> np.ndarray:
    """A random orthogonal matrix."""
    matrix: np.ndarray = np.linalg.qr(np.random.default_rng(seed).standard_normal((length, length)))[0]
    return matrix


def gaussian(mean: np.ndarray, variances: np.ndarray, axes: np.ndarray) -> Moments:
    return Moments(torch.from_numpy(mean), torch.from_numpy((axes * variances) @ axes.T), 10)


@pytest.mark.parametrize("axes", [np.eye(5), rotation(1, 5)], ids=["diagonal", "commuting"])
def test_gaussians_with_common_axes_have_a_closed_form(axes: np.ndarray) -> None:
    """|m_a - m_b|^2 + sum of (s_a - s_b)^2; one s is 0."""
    random = np.random.default_rng(2)
    means, variances = random.standard_normal((2, 5)), random.uniform(0.1, 9, (2, 5))
    variances[0, 2] = 0
    a, b = (gaussian(mean, variance, axes) for mean, variance in zip(means, variances, strict=True))
    expected = np.sum((means[0] - means[1]) ** 2) + np.sum((np.sqrt(variances[0]) - np.sqrt(variances[1])) ** 2)
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-9)
    assert relative_frechet_distance(a, b) == pytest.approx(expected / variances[1].sum(), rel=1e-9)
    assert relative_frechet_distance(b, a) == pytest.approx(expected / variances[0].sum(), rel=1e-9)


def test_gaussians_without_common_axes_have_a_closed_form() -> None:
    """In two dimensions tr (A B)^1/2 is the root of tr(A B) + 2 sqrt(det(A B))."""
    a = gaussian(np.zeros(2), np.array([9.0, 1.0]), np.eye(2))
    b = gaussian(np.zeros(2), np.array([4.0, 0.25]), rotation(3, 2))
    product = (a.covariance @ b.covariance).numpy()
    overlap = np.sqrt(np.trace(product) + 2 * np.sqrt(np.linalg.det(product)))
    expected = np.trace(a.covariance) + np.trace(b.covariance) - 2 * overlap
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-9)
    assert abs((product - product.T)[0, 1]) > 0.1  # they do not commute


def test_extrapolation_removes_the_bias_of_the_generated_images() -> None:
    """200 images of N(0, I) in 6 dimensions have a distance of about 6 * 7 / 4 / 200 = 0.05 to their distribution."""
    real = gaussian(np.zeros(6), np.ones(6), np.eye(6))
    few = [extrapolated_frechet_distance(normal(seed, 200), real) for seed in range(20)]
    plain = [frechet_distance(Moments.of(normal(seed, 200)), real) for seed in range(20)]
    assert abs(np.mean(few)) < np.mean(plain) / 3


def test_the_kernel_distance_is_symmetric() -> None:
    """The subsets differ between the two orders, so that the distances agree within their error."""
    a, b = normal(0, 300), normal(1, 300, 1.2, 0.3)
    one, other = (kernel_distance(*pair, subsets=50, subset_size=100, seed=0) for pair in ((a, b), (b, a)))
    assert one.mean == pytest.approx(other.mean, abs=4 * one.standard_error)


@pytest.fixture
def narrow_in_wide() -> tuple[np.ndarray, np.ndarray]:
    """Generated images in the middle of the real ones, and the real ones."""
    return normal(0, 300, 0.5), normal(1, 250)


def test_a_narrow_distribution_has_precision_and_a_wide_one_recall(
    narrow_in_wide: tuple[np.ndarray, np.ndarray],
) -> None:
    narrow, wide = narrow_in_wide
    inside, outside = membership(narrow, wide, 5).scores(), membership(wide, narrow, 5).scores()
    assert inside.precision > 0.95 > 0.5 > inside.recall
    assert outside.recall > 0.95 > 0.5 > outside.precision
    assert inside.density > 1 > outside.density


def test_membership_is_by_generated_and_by_real_images(narrow_in_wide: tuple[np.ndarray, np.ndarray]) -> None:
    narrow, wide = narrow_in_wide
    found = membership(narrow, wide, 5)
    assert (len(found.precise), len(found.balls), len(found.recalled), len(found.covered)) == (300, 300, 250, 250)
    outer = np.linalg.norm(wide, axis=1) > 4
    assert outer.any()
    assert not found.recalled[outer].any()


def test_copies_of_held_out_images_are_not_flagged() -> None:
    """With exchanged arguments the results would be the opposite."""
    train, held_out = normal(2, 800), normal(3, 400)
    assert not MemorisationTest(held_out, train)(held_out).flagged
    assert MemorisationTest(held_out, train)(train[:400]).flagged
    assert MemorisationTest(train[:400], held_out)(held_out).flagged


def test_copies_of_one_training_image_are_near_but_not_the_reverse() -> None:
    train, held_out = normal(4, 800), normal(5, 400)
    repeated = train[:1] + normal(6, 400, 1e-3)
    assert MemorisationTest(held_out, train)(repeated).share == 1
    assert MemorisationTest(held_out, repeated)(train).share < 0.05


@pytest.mark.parametrize("block", [1, 7, 64, 249, 250, 1000])
def test_the_block_size_does_not_change_the_members(block: int, narrow_in_wide: tuple[np.ndarray, np.ndarray]) -> None:
    whole, parts = membership(*narrow_in_wide, 5, block=1000), membership(*narrow_in_wide, 5, block=block)
    for name in ("precise", "balls", "recalled", "covered"):
        assert (getattr(parts, name) == getattr(whole, name)).all()
