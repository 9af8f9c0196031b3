"""A variant that draws something else is refused: by its pixels, or by what the judge sees."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from tasks.common.errors import UserError
from tasks.evaluate.sampling import Rows
from tasks.evaluate.variants import compare, require_alike
from tasks.metrics.frechet import Moments

IMAGES = np.random.default_rng(0).integers(0, 250, (600, 1, 4, 4), dtype=np.uint8)


class Means:
    """A judge that sees the mean of each half of an image, and counts what it looked at."""

    looked = 0

    def features(self, images: np.ndarray) -> np.ndarray:
        self.looked += len(images)
        halves = images.reshape(len(images), 2, -1).mean(axis=2)
        return halves.astype(np.float32)


@dataclass
class Real:
    test: torch.Tensor
    test_moments: Moments


@dataclass
class Stick:
    evaluator: Means
    real: Real


@pytest.fixture
def stick() -> Stick:
    features = torch.from_numpy(Means().features(IMAGES[:300]))
    return Stick(Means(), Real(features, Moments.of(features)))


def draw(change: Callable[[np.ndarray], np.ndarray] = lambda images: images) -> Callable[[Rows], np.ndarray]:
    return lambda rows: change(IMAGES[rows].copy())


def lifted(images: np.ndarray, share: float, by: int) -> np.ndarray:
    """With that share of the pixels changed."""
    images.reshape(-1)[: round(share * images.size)] += np.uint8(by)
    return images


def test_equal_images_are_not_looked_at_twice(stick: Stick) -> None:
    found = compare("gan.onnx", {"gan.onnx": draw(), "gan.uint8.onnx": draw()}, stick, 600)  # type: ignore[arg-type]
    assert list(found) == ["gan.uint8.onnx"]
    assert found["gan.uint8.onnx"] | {"within_one": 1.0, "largest_step": 0.0} == found["gan.uint8.onnx"]
    assert found["gan.uint8.onnx"]["fd_relative"] == found["gan.uint8.onnx"]["fd_relative_float32"] > 0
    assert stick.evaluator.looked == 600


def test_few_pixels_may_be_farther_away(stick: Stick) -> None:
    draws = {"gan.onnx": draw(), "gan.float16.onnx": draw(lambda images: lifted(images, 0.0005, 5))}
    found = compare("gan.onnx", draws, stick, 500)["gan.float16.onnx"]  # type: ignore[arg-type]
    assert found["within_one"] == pytest.approx(0.9995)
    assert found["largest_step"] == 5
    assert found["fd_relative"] != found["fd_relative_float32"]
    draws["gan.float16.onnx"] = draw(lambda images: lifted(images, 0.002, 2))
    with pytest.raises(UserError, match=r"float16.onnx draws other images than gan.onnx: 99.80% of pixels"):
        compare("gan.onnx", draws, stick, 500)  # type: ignore[arg-type]


def test_a_shift_that_no_pixel_betrays_is_seen_by_the_judge() -> None:
    require_alike("gan.float16.onnx", "gan.onnx", 0.9991, 0.0509, 0.05)
    with pytest.raises(UserError, match=r"draws worse images than gan.onnx: fd_relative is 0.0512 instead of 0.05"):
        require_alike("gan.float16.onnx", "gan.onnx", 1.0, 0.0512, 0.05)
    for broken in ((float("nan"), 0.05), (1.0, float("nan"))):
        with pytest.raises(UserError):
            require_alike("gan.float16.onnx", "gan.onnx", *broken, 0.05)
