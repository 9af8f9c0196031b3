"""What spoiling does to an image: the mathematics of each way, and what it leaves alone."""

import numpy as np
import pytest

from tasks.reference.corruptions import CORRUPTIONS, Corruption, add_noise, blur, raise_background, reduce_contrast

UNCHANGED: dict[str, float] = {"background": 0, "blur": 0, "noise": 0, "contrast": 1}
WAYS = pytest.mark.parametrize("way", CORRUPTIONS)


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)


def distance(corrupt: Corruption, amount: float) -> float:
    """Mean absolute change, in grey levels."""
    images = noise(4, 1, 28, 28)
    return float(np.abs(corrupt(images, amount).astype(float) - images).mean())


@WAYS
@pytest.mark.parametrize("shape", [(3, 1, 28, 28), (2, 3, 32, 32), (1, 1, 8, 8)])
def test_shape_and_bytes_are_kept_and_the_images_left_alone(way: str, shape: tuple[int, ...]) -> None:
    corrupt, amounts = CORRUPTIONS[way]
    images = noise(*shape)
    for amount in amounts:
        corrupted = corrupt(images, amount)
        assert corrupted.shape == shape
        assert corrupted.dtype == np.uint8
    assert (images == noise(*shape)).all()


@WAYS
def test_an_amount_of_nothing_changes_nothing(way: str) -> None:
    images = noise(3, 3, 28, 28)
    assert (CORRUPTIONS[way][0](images, UNCHANGED[way]) == images).all()


@WAYS
def test_the_amounts_are_in_order_of_how_much_they_change(way: str) -> None:
    corrupt, amounts = CORRUPTIONS[way]
    changes = [distance(corrupt, amount) for amount in amounts]
    assert changes == sorted(changes)
    assert len(set(changes)) == len(changes)


@pytest.mark.parametrize("way", [way for way in CORRUPTIONS if way != "noise"])  # which follows from the place
def test_every_image_and_channel_is_spoilt_on_its_own(way: str) -> None:
    corrupt, amounts = CORRUPTIONS[way]
    images = noise(3, 3, 28, 28)
    alone = corrupt(images[1:2, 2:3], amounts[-1])
    assert (corrupt(images, amounts[-1])[1:2, 2:3] == alone).all()


def test_a_lifted_background_moves_no_brighter_pixel() -> None:
    images = np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16)
    assert (raise_background(images, 24).ravel() == np.maximum(np.arange(256), 24)).all()


def test_fading_scales_about_the_middle() -> None:
    images = np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16)
    faded = reduce_contrast(images, 0.5).ravel().astype(int)
    assert (faded[0], faded[255]) == (64, 191)
    assert np.abs(faded - (127.5 + 0.5 * (np.arange(256) - 127.5))).max() <= 0.5
    assert (faded + faded[::-1] == 255).all()  # black and white are treated alike
    assert set(reduce_contrast(images, 0).ravel()) == {128}


@pytest.mark.parametrize("sigma", CORRUPTIONS["blur"][1])
@pytest.mark.parametrize("level", [0, 77, 255])
def test_a_constant_image_stays_as_it_is_under_blur(sigma: float, level: int) -> None:
    images = np.full((2, 3, 28, 28), level, np.uint8)
    assert (blur(images, sigma) == images).all()


@pytest.mark.parametrize("sigma", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("place", [14, 0])  # the middle, and a corner, where the mirrored edge gives back what left
def test_a_spot_keeps_its_light_under_blur(sigma: float, place: int) -> None:
    """A square of 9 x 9 keeps its sum but for the rounding to bytes, which is 0.5 at most and 0 on average."""
    images = np.zeros((1, 1, 40, 40), np.uint8)
    images[0, 0, place : place + 9, place : place + 9] = 200
    blurred = blur(images, sigma).astype(float)
    assert blurred.sum() == pytest.approx(images.sum(dtype=float), rel=0.01)
    assert blurred.std() < images.std()


def test_an_impulse_becomes_the_gaussian() -> None:
    images = np.zeros((1, 1, 41, 41), np.uint8)
    images[0, 0, 20, 20] = 255
    y, x = np.mgrid[-20:21, -20:21]
    bell = np.exp(-(x**2 + y**2) / 2)
    assert np.abs(blur(images, 1.0)[0, 0] - 255 * bell / bell.sum()).max() <= 1
    assert (blur(images) == blur(images, 1.0)).all()


def test_noise_is_the_same_every_time_and_as_strong_as_asked() -> None:
    images = np.full((20, 1, 28, 28), 128, np.uint8)
    disturbed = add_noise(images, 8)
    np.random.default_rng(99).standard_normal(5)
    assert (add_noise(images, 8) == disturbed).all()
    change = disturbed.astype(float) - 128
    assert change.std() == pytest.approx(8, rel=4 / np.sqrt(2 * change.size))
    assert change.mean() == pytest.approx(0, abs=4 * 8 / np.sqrt(change.size))
    assert (disturbed[0] != disturbed[1]).any()


def test_noise_is_clipped_and_does_not_wrap() -> None:
    black, white = np.zeros((4, 1, 28, 28), np.uint8), np.full((4, 1, 28, 28), 255, np.uint8)
    assert add_noise(black, 4).max() < 40
    assert add_noise(white, 4).min() > 215
