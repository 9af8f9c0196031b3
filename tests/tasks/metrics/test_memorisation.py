"""Whether replayed training images are told from new ones, and blurred ones are not taken for replayed."""

import numpy as np
import pytest

from tasks.metrics.memorisation import NEAR, SIGNIFICANT, SUSPECT, Memorisation, MemorisationTest


def images(seed: int, count: int, scale: float = 1.0) -> np.ndarray:
    return scale * np.random.default_rng(seed).standard_normal((count, 8))


TRAIN, HELD_OUT = images(0, 3000), images(1, 1000)


def test_new_images_are_as_near_as_held_out_ones() -> None:
    """A share of 1 % of 1,000 has a standard deviation of 0.3 %, that of the quantile included less than 0.5 %."""
    found = MemorisationTest(HELD_OUT, TRAIN)(images(2, 1000))
    assert found.share == pytest.approx(NEAR, abs=0.02)
    assert found.p_value > 1e-3
    assert not found.flagged


def test_replayed_images_are_found_and_named() -> None:
    rows = np.random.default_rng(3).choice(len(TRAIN), 500, replace=False)
    found = MemorisationTest(HELD_OUT, TRAIN)(TRAIN[rows])
    assert found.share == 1
    assert found.p_value < 1e-100
    assert (found.nearest == rows).all()
    assert found.distance_ratios == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_a_share_of_replayed_images_is_seen(share: float) -> None:
    new, count = images(4, 1000), int(1000 * share)
    new[:count] = TRAIN[:count] + images(5, count, 1e-3)
    found = MemorisationTest(HELD_OUT, TRAIN)(new)
    assert found.share == pytest.approx(share + (1 - share) * NEAR, abs=0.02)
    assert found.flagged


def test_plain_images_are_no_copies() -> None:
    """Half as scattered they lie nearer to everything, so that plain distances would call most of them copies."""
    plain = images(6, 1000, 0.5)
    found = MemorisationTest(HELD_OUT, TRAIN)(plain)
    assert found.share < 2 * NEAR
    assert not found.flagged


def test_nearness_is_the_distance_over_that_of_the_neighbourhood() -> None:
    generated, train = images(7, 20), images(8, 60)
    distances = np.sort(np.linalg.norm(generated[:, None] - train[None], axis=2), axis=1)[:, :5]
    found = MemorisationTest(images(9, 20), train, neighbours=5)(generated)
    np.testing.assert_allclose(found.distance_ratios, distances[:, 0] / distances.mean(axis=1), rtol=1e-6)


def test_both_the_share_and_the_p_value_must_speak() -> None:
    nothing = np.zeros(1), np.zeros(1, np.int64)
    assert Memorisation(SUSPECT * 1.01, SIGNIFICANT / 2, *nothing).flagged
    for share, p_value in ((SUSPECT, SIGNIFICANT / 2), (SUSPECT * 2, SIGNIFICANT), (0.0, 0.0), (1.0, 1.0)):
        assert not Memorisation(share, p_value, *nothing).flagged


def test_refuses_too_few_training_images_or_neighbours() -> None:
    with pytest.raises(ValueError, match="50 neighbours among 50 training images"):
        MemorisationTest(HELD_OUT, TRAIN[:50])
    with pytest.raises(ValueError, match="1 neighbours among"):
        MemorisationTest(HELD_OUT, TRAIN, neighbours=1)  # each lies at its own mean distance
    assert len(MemorisationTest(HELD_OUT[:9], TRAIN[:50], neighbours=2)(HELD_OUT[:9]).distance_ratios) == 9
