"""A variant that generates other images is refused, for its pixels or for its features."""

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
    """An evaluator whose features are the means of both halves of an image; it counts the images."""

    count = 0

    def features(self, images: np.ndarray) -> np.ndarray:
        self.count += len(images)
        halves = images.reshape(len(images), 2, -1).mean(axis=2)
        return halves.astype(np.float32)


@dataclass
class Real:
    test: torch.Tensor
    test_moments: Moments


@dataclass
class Statistics:
    evaluator: Means
    real: Real


@pytest.fixture
def statistics() -> Statistics:
    features = torch.from_numpy(Means().features(IMAGES[:300]))
    return Statistics(Means(), Real(features, Moments.of(features)))


def source(change: Callable[[np.ndarray], np.ndarray] = lambda images: images) -> Callable[[Rows], np.ndarray]:
    return lambda rows: change(IMAGES[rows].copy())


def brightened(images: np.ndarray, share: float, by: int) -> np.ndarray:
    """Adds `by` to this share of the pixels."""
    images.reshape(-1)[: round(share * images.size)] += np.uint8(by)
    return images


def test_features_of_equal_images_are_extracted_once(statistics: Statistics) -> None:
    found = compare("gan.onnx", {"gan.onnx": source(), "gan.uint8.onnx": source()}, statistics, 600)  # type: ignore[arg-type]
    assert list(found) == ["gan.uint8.onnx"]
    assert found["gan.uint8.onnx"] | {"within_one": 1.0, "largest_step": 0.0} == found["gan.uint8.onnx"]
    assert found["gan.uint8.onnx"]["fd_relative"] == found["gan.uint8.onnx"]["fd_relative_float32"] > 0
    assert statistics.evaluator.count == 600


def test_few_pixels_may_differ_by_more_than_one(statistics: Statistics) -> None:
    sources = {"gan.onnx": source(), "gan.float16.onnx": source(lambda images: brightened(images, 0.0005, 5))}
    found = compare("gan.onnx", sources, statistics, 500)["gan.float16.onnx"]  # type: ignore[arg-type]
    assert found["within_one"] == pytest.approx(0.9995)
    assert found["largest_step"] == 5
    assert found["fd_relative"] != found["fd_relative_float32"]
    sources["gan.float16.onnx"] = source(lambda images: brightened(images, 0.002, 2))
    with pytest.raises(UserError, match=r"float16.onnx generates other images than gan.onnx: 99.80% of pixels"):
        compare("gan.onnx", sources, statistics, 500)  # type: ignore[arg-type]


def test_a_small_shift_of_all_pixels_is_found_by_the_distance() -> None:
    require_alike("gan.float16.onnx", "gan.onnx", 0.9991, 0.0509, 0.05)
    with pytest.raises(UserError, match=r"generates worse images than gan.onnx: fd_relative is 0.0512 instead of 0.05"):
        require_alike("gan.float16.onnx", "gan.onnx", 1.0, 0.0512, 0.05)
    for broken in ((float("nan"), 0.05), (1.0, float("nan"))):
        with pytest.raises(UserError):
            require_alike("gan.float16.onnx", "gan.onnx", *broken, 0.05)
