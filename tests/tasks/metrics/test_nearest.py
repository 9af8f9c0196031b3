"""The search for nearest neighbours with scikit-learn on a CPU, and by blocks as on a GPU."""

import numpy as np
import pytest
import torch

from tasks.metrics import nearest as module
from tasks.metrics.nearest import nearest, nearest_by_blocks


def normal(seed: int, count: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal((count, 8)) + 3)


@pytest.mark.parametrize("entries", [1, 7 * 400, 2**25])
def test_blocks_give_the_result_of_scikit_learn(entries: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ENTRIES", entries)
    points, others = normal(0, 60), normal(1, 400)
    for ours, expected in zip(nearest_by_blocks(points, others, 5), nearest(points, others, 5), strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-12)


def test_a_copy_is_at_distance_zero() -> None:
    points = normal(0, 50)
    distances, rows = nearest_by_blocks(points, points, 2)
    assert (rows[:, 0] == np.arange(50)).all()
    assert distances[:, 0] == pytest.approx(0, abs=1e-6)
    assert (distances[:, 1] > 0.1).all()


@pytest.mark.gpu
def test_a_gpu_gives_the_same_result() -> None:
    points, others = normal(0, 60), normal(1, 400)
    for ours, expected in zip(nearest(points.cuda(), others.cuda(), 5), nearest(points, others, 5), strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-10)
