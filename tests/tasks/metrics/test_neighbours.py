"""Precision, recall, density and coverage against their definitions and in known cases."""

from dataclasses import astuple

import numpy as np
import pytest

from tasks.metrics.neighbours import NeighbourScores, membership


def normal(seed: int, count: int, scale: float = 1.0) -> np.ndarray:
    values: np.ndarray = scale * np.random.default_rng(seed).standard_normal((count, 6))
    return values


def plain(generated: np.ndarray, real: np.ndarray, k: int) -> NeighbourScores:
    """The definitions of the papers, with whole matrices; column 0 of the sorted distances is the point itself."""

    def distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        found: np.ndarray = np.linalg.norm(a[:, None] - b[None], axis=2)
        return found

    reach_real = np.sort(distances(real, real), axis=1)[:, k]
    reach_generated = np.sort(distances(generated, generated), axis=1)[:, k]
    between = distances(real, generated)
    return NeighbourScores(
        precision=float((between <= reach_real[:, None]).any(axis=0).mean()),
        recall=float((between <= reach_generated[None, :]).any(axis=1).mean()),
        density=float((between <= reach_real[:, None]).sum(axis=0).mean() / k),
        coverage=float((between.min(axis=1) <= reach_real).mean()),
    )


@pytest.mark.parametrize("k", [1, 5])
def test_equals_the_definitions(k: int) -> None:
    generated, real = normal(0, 150, 0.8) + 0.3, normal(1, 220)
    scores = membership(generated, real, k).scores()
    assert astuple(scores) == pytest.approx(astuple(plain(generated, real, k)), rel=1e-12)


def test_the_block_size_does_not_change_it() -> None:
    generated, real = normal(0, 150, 0.8), normal(1, 151)
    whole = membership(generated, real, 3, block=1000).scores()
    assert all(membership(generated, real, 3, block=block).scores() == whole for block in (1, 7, 150))


def test_a_copy_of_the_real_images_has_every_image_covered() -> None:
    real = normal(0, 200)
    scores = membership(real, real, 5).scores()
    assert (scores.precision, scores.recall, scores.coverage) == (1, 1, 1)
    assert scores.density == pytest.approx(6 / 5, abs=0.01)  # its own ball and, on average, those of k others


def test_a_missing_cluster_halves_recall_and_coverage() -> None:
    """The generator makes one of two clusters of real images: precision 1, recall and coverage one half."""
    apart = np.zeros(6)
    apart[0] = 100
    real = np.concatenate([normal(0, 200), normal(1, 200) + apart])
    scores = membership(normal(2, 400, 0.9), real, 5).scores()
    assert scores.precision > 0.9
    assert scores.recall == pytest.approx(0.5, abs=0.1)
    assert scores.coverage == pytest.approx(0.5, abs=0.05)
    swapped = membership(real, normal(2, 400, 0.9), 5).scores()
    assert swapped.precision == pytest.approx(0.5, abs=0.1)
    assert swapped.recall > 0.9


def test_a_collapsed_generator_has_low_recall_and_coverage() -> None:
    mode_collapsed = normal(2, 1) * 0.1 + normal(3, 300, 1e-3)
    scores = membership(mode_collapsed, normal(0, 300), 5).scores()
    assert scores.precision == 1
    assert scores.recall < 0.02
    assert scores.coverage < 0.3


def test_outliers_raise_precision_more_than_density() -> None:
    """Naeem et al. 2020, section 2: the large balls of outliers among real images contain noise."""
    outliers = 8 * np.random.default_rng(5).standard_normal((10, 6))
    scores = membership(normal(3, 300, 4.0), np.concatenate([normal(0, 290), outliers]), 5).scores()
    assert scores.precision > 2 * scores.density


def test_a_large_mean_does_not_change_it() -> None:
    generated, real = normal(0, 150), normal(1, 150)
    assert membership(generated + 1e6, real + 1e6, 5).scores() == membership(generated, real, 5).scores()


@pytest.mark.parametrize("k", [0, 20])
def test_refuses_more_neighbours_than_images(k: int) -> None:
    with pytest.raises(ValueError, match="k must be below"):
        membership(normal(0, 20), normal(1, 30), k)
