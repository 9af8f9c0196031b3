"""The Vendi score against its definition on the whole kernel matrix, and in cases with a known number."""

import numpy as np
import pytest

from tasks.metrics.diversity import vendi_score


def plain(features: np.ndarray) -> float:
    """The definition as in the paper: the entropy of the eigenvalues of the N x N matrix of cosines over N."""
    rows = features / np.linalg.norm(features, axis=1, keepdims=True)
    values = np.linalg.eigvalsh(rows @ rows.T / len(rows))
    values = values[values > 1e-12]
    return float(np.exp(-(values * np.log(values)).sum()))


@pytest.mark.parametrize("shape", [(40, 6), (6, 40)])
def test_equals_its_definition(shape: tuple[int, int]) -> None:
    features = np.random.default_rng(0).standard_normal(shape)
    assert vendi_score(features) == pytest.approx(plain(features), rel=1e-9)


def test_counts_orthogonal_directions() -> None:
    """Five directions, equally frequent and of any length, count as five images."""
    features = np.repeat(np.eye(8)[:5], 20, axis=0) * np.random.default_rng(0).uniform(1, 9, (100, 1))
    assert vendi_score(features) == pytest.approx(5, rel=1e-9)
    assert vendi_score(np.ones((30, 8))) == pytest.approx(1, rel=1e-9)


def test_falls_when_a_class_is_missing() -> None:
    random = np.random.default_rng(0)
    features = np.repeat(np.eye(8), 50, axis=0) + 0.1 * random.standard_normal((400, 8))
    assert vendi_score(features[:350]) < 0.95 * vendi_score(features)


def test_zero_features_count_as_one_more_kind() -> None:
    assert vendi_score(np.zeros((4, 3))) == pytest.approx(1)
    assert vendi_score(np.concatenate([np.zeros((10, 3)), np.repeat(np.eye(3), 10, axis=0)])) == pytest.approx(4)
