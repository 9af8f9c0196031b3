"""The test for memorisation on new images, on copies of training images, and on plain images."""

import numpy as np
import pytest

from tasks.metrics.memorisation import NEAR, SIGNIFICANT, SUSPECT, Memorisation, MemorisationTest


def images(seed: int, count: int, scale: float = 1.0) -> np.ndarray:
    return scale * np.random.default_rng(seed).standard_normal((count, 8))


TRAIN, HELD_OUT = images(0, 3000), images(1, 1000)


def test_new_images_are_not_flagged() -> None:
    """The share, 1 % of 1,000, has a standard deviation of 0.3 %, below 0.5 % with that of the quantile."""
    found = MemorisationTest(HELD_OUT, TRAIN)(images(2, 1000))
    assert found.share == pytest.approx(NEAR, abs=0.02)
    assert found.p_value > 1e-3
    assert not found.flagged


def test_copies_are_flagged_with_their_rows() -> None:
    rows = np.random.default_rng(3).choice(len(TRAIN), 500, replace=False)
    found = MemorisationTest(HELD_OUT, TRAIN)(TRAIN[rows])
    assert found.share == 1
    assert found.p_value < 1e-100
    assert (found.nearest == rows).all()
    assert found.distance_ratios == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_the_share_of_copies_is_found(share: float) -> None:
    new, count = images(4, 1000), int(1000 * share)
    new[:count] = TRAIN[:count] + images(5, count, 1e-3)
    found = MemorisationTest(HELD_OUT, TRAIN)(new)
    assert found.share == pytest.approx(share + (1 - share) * NEAR, abs=0.02)
    assert found.flagged


def test_plain_images_are_not_flagged() -> None:
    """With half the deviation they are nearer to all images, so that plain distances would flag most of them."""
    plain = images(6, 1000, 0.5)
    found = MemorisationTest(HELD_OUT, TRAIN)(plain)
    assert found.share < 2 * NEAR
    assert not found.flagged


def test_the_ratio_is_the_distance_over_the_mean_of_the_neighbours() -> None:
    generated, train = images(7, 20), images(8, 60)
    distances = np.sort(np.linalg.norm(generated[:, None] - train[None], axis=2), axis=1)[:, :5]
    found = MemorisationTest(images(9, 20), train, neighbours=5)(generated)
    np.testing.assert_allclose(found.distance_ratios, distances[:, 0] / distances.mean(axis=1), rtol=1e-6)


def test_the_flag_needs_both_the_share_and_the_p_value() -> None:
    rest = np.zeros(1), np.zeros(1, np.int64)
    assert Memorisation(SUSPECT * 1.01, SIGNIFICANT / 2, *rest).flagged
    for share, p_value in ((SUSPECT, SIGNIFICANT / 2), (SUSPECT * 2, SIGNIFICANT), (0.0, 0.0), (1.0, 1.0)):
        assert not Memorisation(share, p_value, *rest).flagged


def test_refuses_too_few_training_images_or_neighbours() -> None:
    with pytest.raises(ValueError, match="50 neighbours among 50 training images"):
        MemorisationTest(HELD_OUT, TRAIN[:50])
    with pytest.raises(ValueError, match="1 neighbours among"):
        MemorisationTest(HELD_OUT, TRAIN, neighbours=1)  # every ratio would be 1
    assert len(MemorisationTest(HELD_OUT[:9], TRAIN[:50], neighbours=2)(HELD_OUT[:9]).distance_ratios) == 9
