"""The corruptions: the mathematics of each, and what they leave unchanged."""

import numpy as np
import pytest

from tasks.reference.validate import CORRUPTIONS, Corruption, add_noise, blur, raise_background, reduce_contrast

UNCHANGED: dict[str, float] = {"background": 0, "blur": 0, "noise": 0, "contrast": 1}
EVERY = pytest.mark.parametrize("name", CORRUPTIONS)


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)


def distance(corrupt: Corruption, amount: float) -> float:
    """Mean absolute change, in grey levels."""
    images = noise(4, 1, 28, 28)
    return float(np.abs(corrupt(images, amount).astype(float) - images).mean())


@EVERY
@pytest.mark.parametrize("shape", [(3, 1, 28, 28), (2, 3, 32, 32), (1, 1, 8, 8)])
def test_shape_and_dtype_are_kept_and_the_input_is_unchanged(name: str, shape: tuple[int, ...]) -> None:
    corrupt, amounts = CORRUPTIONS[name]
    images = noise(*shape)
    for amount in amounts:
        corrupted = corrupt(images, amount)
        assert corrupted.shape == shape
        assert corrupted.dtype == np.uint8
    assert (images == noise(*shape)).all()


@EVERY
def test_the_neutral_amount_changes_nothing(name: str) -> None:
    images = noise(3, 3, 28, 28)
    assert (CORRUPTIONS[name][0](images, UNCHANGED[name]) == images).all()


@EVERY
def test_later_amounts_change_more(name: str) -> None:
    corrupt, amounts = CORRUPTIONS[name]
    changes = [distance(corrupt, amount) for amount in amounts]
    assert changes == sorted(changes)
    assert len(set(changes)) == len(changes)


@pytest.mark.parametrize("name", [name for name in CORRUPTIONS if name != "noise"])  # noise depends on the position
def test_every_image_and_channel_is_corrupted_independently(name: str) -> None:
    corrupt, amounts = CORRUPTIONS[name]
    images = noise(3, 3, 28, 28)
    alone = corrupt(images[1:2, 2:3], amounts[-1])
    assert (corrupt(images, amounts[-1])[1:2, 2:3] == alone).all()


def test_a_raised_background_changes_no_brighter_pixel() -> None:
    images = np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16)
    assert (raise_background(images, 24).ravel() == np.maximum(np.arange(256), 24)).all()


def test_contrast_is_scaled_about_the_middle() -> None:
    images = np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16)
    reduced = reduce_contrast(images, 0.5).ravel().astype(int)
    assert (reduced[0], reduced[255]) == (64, 191)
    assert np.abs(reduced - (127.5 + 0.5 * (np.arange(256) - 127.5))).max() <= 0.5
    assert (reduced + reduced[::-1] == 255).all()  # black and white are treated alike
    assert set(reduce_contrast(images, 0).ravel()) == {128}


@pytest.mark.parametrize("sigma", CORRUPTIONS["blur"][1])
@pytest.mark.parametrize("level", [0, 77, 255])
def test_blur_keeps_a_constant_image(sigma: float, level: int) -> None:
    images = np.full((2, 3, 28, 28), level, np.uint8)
    assert (blur(images, sigma) == images).all()


@pytest.mark.parametrize("sigma", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("place", [14, 0])  # the middle, and a corner, where the mirrored edge keeps the sum
def test_blur_keeps_the_sum_of_a_square(sigma: float, place: int) -> None:
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


def test_noise_is_reproducible_and_has_the_deviation() -> None:
    images = np.full((20, 1, 28, 28), 128, np.uint8)
    noisy = add_noise(images, 8)
    np.random.default_rng(99).standard_normal(5)
    assert (add_noise(images, 8) == noisy).all()
    change = noisy.astype(float) - 128
    assert change.std() == pytest.approx(8, rel=4 / np.sqrt(2 * change.size))
    assert change.mean() == pytest.approx(0, abs=4 * 8 / np.sqrt(change.size))
    assert (noisy[0] != noisy[1]).any()


def test_noise_is_clipped_and_does_not_overflow() -> None:
    black, white = np.zeros((4, 1, 28, 28), np.uint8), np.full((4, 1, 28, 28), 255, np.uint8)
    assert add_noise(black, 4).max() < 40
    assert add_noise(white, 4).min() > 215
