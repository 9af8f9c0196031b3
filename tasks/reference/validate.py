"""Extracts an evaluator's features of the real images, and checks the evaluator on held-out and corrupted images."""

import csv
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from scipy.ndimage import gaussian_filter

from tasks.common.cli import Progress
from tasks.common.runtime import StopSignals
from tasks.common.tensors import save_tensors
from tasks.metrics.frechet import Moments, relative_frechet_distance
from tasks.preprocess.dataset import Prepared, Split
from tasks.reference.evaluator import Evaluator

SAVED_TEST, SAVED_TRAIN = 10_000, 200_000  # test and training images whose features are saved
CORRUPTED_IMAGES = 2_500  # test images that every corruption is applied to
BLOCK = 5_000
MIN_ACCURACY, MAX_HELD_OUT, MIN_RATIO = 0.92, 0.002, 10.0
CHANCE_SAMPLES = 10
OBVIOUS_BLUR = 1 / 14  # standard deviation over image side: a blur that is obvious even in smooth images
Advance = Callable[[int], None]
Corruption = Callable[[np.ndarray, float], np.ndarray]  # (uint8 [N, C, H, W], amount) -> uint8 [N, C, H, W]


def raise_background(images: np.ndarray, level: float) -> np.ndarray:
    """Raises every value below `level`, of 255, to `level`."""
    return images.clip(min=np.uint8(level))


def reduce_contrast(images: np.ndarray, contrast: float) -> np.ndarray:
    """Scales values by `contrast` about the middle of the range; 1 changes nothing."""
    return _to_bytes(127.5 + contrast * (images.astype(np.float32) - 127.5))


def blur(images: np.ndarray, sigma: float = 1.0) -> np.ndarray:
    """Applies a Gaussian filter of `sigma` pixels with mirrored edges."""
    return _to_bytes(gaussian_filter(images.astype(np.float32), (0, 0, sigma, sigma)))


def add_noise(images: np.ndarray, sigma: float) -> np.ndarray:
    """Adds normal noise with a deviation of `sigma`, of 255, from a fixed seed."""
    return _to_bytes(images + sigma * np.random.default_rng(0).standard_normal(images.shape, np.float32))


def _to_bytes(images: np.ndarray) -> np.ndarray:
    return images.round().clip(0, 255).astype(np.uint8)


CORRUPTIONS: dict[str, tuple[Corruption, tuple[float, ...]]] = {
    "background": (raise_background, (0, 2, 4, 8, 16, 24)),
    "blur": (blur, (0.25, 0.5, 1, 2)),
    "noise": (add_noise, (1, 2, 4, 8, 16)),
    "contrast": (reduce_contrast, (0.95, 0.9, 0.8, 0.7, 0.5)),
}


def validate_evaluator(
    evaluator: Evaluator, prepared: Prepared, folder: Path, stop: StopSignals, accuracy: dict[str, float]
) -> dict[str, object]:
    """Writes features.safetensors and sensitivity.csv; returns the content of evaluator.json.

    `accuracy` holds the test accuracy of a network that was trained on the data set, and is empty for any other.
    """
    train, test = prepared.split("train"), prepared.split("test")
    corrupted = min(CORRUPTED_IMAGES, len(test))
    total = len(train) + 2 * len(test) + corrupted * sum(len(amounts) for _, amounts in CORRUPTIONS.values())
    with Progress(total, "extracting features of real images") as progress:

        def advance(images: int) -> None:
            progress.advance(images)
            stop.check()

        train_features, test_features = _features(evaluator, train, advance), _features(evaluator, test, advance)
        moments = Moments.of(train_features)
        _save(folder, train_features, test_features, moments, prepared)
        checks = {
            "held_out": _distance(test_features, moments),
            "blurred": _distance(_features(evaluator, test, advance, OBVIOUS_BLUR), moments),
            **chance_distance(train_features, len(test_features), moments),
        }
        if classes := _distances_without_a_class(test_features, prepared, moments):
            checks["missing_class"] = min(classes.values())
        rows = [*_distances_when_corrupted(evaluator, test.gather(np.arange(corrupted)), moments, advance)]
        rows += [("missing class", name, distance) for name, distance in classes.items()]
    _write_sensitivity(folder / "sensitivity.csv", rows)
    passed = passes_checks(evaluator.kind, checks, accuracy)
    return {"network": evaluator.kind, "checks": checks, **accuracy, "trusted": passed}


def passes_checks(kind: str, checks: dict[str, float], accuracy: dict[str, float]) -> bool:
    """Returns whether an evaluator can be trusted; `checks` are relative Fréchet distances to all training images.

    The accuracy, if there is one, must be at least MIN_ACCURACY. Small sets have large distances by chance, so
    `chance`, the mean distance of equally many training images, is subtracted from every distance first. Then the
    distance of held-out images must be at most MAX_HELD_OUT plus twice `chance`. The distance of blurred images must be
    at least MIN_RATIO times that of held-out images and MIN_RATIO times `chance_deviation`. If the evaluator is a
    classifier, the same holds for the images without one class; other evaluators only report that distance.
    """
    distances = [checks["blurred"]]
    if kind == "classifier" and "missing_class" in checks:
        distances.append(checks["missing_class"])
    chance, held_out = checks["chance"], checks["held_out"] - checks["chance"]
    return (
        accuracy.get("accuracy", 1.0) >= MIN_ACCURACY
        and held_out <= MAX_HELD_OUT + 2 * chance
        and min(distances) - chance >= MIN_RATIO * max(held_out, checks["chance_deviation"])
    )


def _save(folder: Path, train: np.ndarray, test: np.ndarray, moments: Moments, prepared: Prepared) -> None:
    rows = np.sort(np.random.default_rng(0).permutation(len(train))[:SAVED_TRAIN])
    arrays = {"test": test[:SAVED_TEST], "train": train[rows], "train_count": np.array(moments.count)}
    if (labels := prepared.split("test").labels) is not None:
        arrays["test_labels"] = labels[:SAVED_TEST]
    tensors = {name: torch.from_numpy(value) for name, value in arrays.items()}
    tensors |= {"train_mean": moments.mean, "train_covariance": moments.covariance}
    save_tensors(folder / "features.safetensors", tensors, {"prepared": prepared.hash})


def _features(evaluator: Evaluator, split: Split, advance: Advance, blurred: float = 0.0) -> np.ndarray:
    """Returns features float32 [N, F] of a split; `blurred` blurs its images by that share of their side."""
    parts = []
    for images in split.blocks(BLOCK):
        parts.append(evaluator.features(blur(images, blurred * images.shape[-1]) if blurred else images))
        advance(len(images))
    return np.concatenate(parts)


def chance_distance(train: np.ndarray, count: int, moments: Moments) -> dict[str, float]:
    """Returns mean and standard deviation, over CHANCE_SAMPLES, of the distance of `count` training images to all."""
    random = np.random.default_rng(0)
    size = min(count, len(train))
    distances = [_distance(train[random.permutation(len(train))[:size]], moments) for _ in range(CHANCE_SAMPLES)]
    return {"chance": float(f"{np.mean(distances):.6g}"), "chance_deviation": float(f"{np.std(distances, ddof=1):.6g}")}


def _distances_without_a_class(features: np.ndarray, prepared: Prepared, moments: Moments) -> dict[str, float]:
    """Returns, by label, the distance of the test images without that label, where two or more images are left."""
    labels, names = prepared.split("test").labels, prepared.manifest.labels
    if labels is None or len(names) < 2:
        return {}
    others = ((names[label], labels != label) for label in np.unique(labels))
    return {name: _distance(features[rows], moments) for name, rows in others if rows.sum() > 1}


def _distances_when_corrupted(
    evaluator: Evaluator, images: np.ndarray, moments: Moments, advance: Advance
) -> Iterator[tuple[str, str, float]]:
    """Yields (corruption, amount, distance of the corrupted images)."""
    for name, (corrupt, amounts) in CORRUPTIONS.items():
        for amount in amounts:
            yield name, f"{amount:g}", _distance(evaluator.features(corrupt(images, amount)), moments)
            advance(len(images))


def _write_sensitivity(path: Path, rows: list[tuple[str, str, float]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("corrupted_by", "amount", "fd_relative", "what"))
        writer.writerows((name, amount, distance, f"{name} {amount}") for name, amount, distance in rows)


def _distance(features: np.ndarray, moments: Moments) -> float:
    """Relative Fréchet distance to six digits; further digits depend on the order of sums."""
    return float(f"{relative_frechet_distance(Moments.of(features), moments):.6g}")
