"""Extracts an evaluator's features of the real images, and checks the evaluator on held-out and corrupted images."""

import csv
import io
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch

from tasks.common.cli import Progress
from tasks.common.files import write_bytes
from tasks.common.runtime import StopSignals
from tasks.common.tensors import save_tensors
from tasks.metrics.frechet import Moments, relative_frechet_distance
from tasks.preprocess.dataset import Prepared, Split
from tasks.reference.corruptions import CORRUPTIONS, blur
from tasks.reference.evaluator import Evaluator

SAVED_TEST, SAVED_TRAIN = 10_000, 200_000  # test and training images whose features are saved
CORRUPTED_IMAGES = 2_500  # test images that every corruption is applied to
BLOCK = 5_000
MIN_ACCURACY, MAX_HELD_OUT, MIN_RATIO = 0.92, 0.002, 10.0
CHANCE_SAMPLES = 10
OBVIOUS_BLUR = 1 / 14  # deviation over side: an obvious blur, however smooth the images are
Advance = Callable[[int], None]


def validate_evaluator(
    evaluator: Evaluator, prepared: Prepared, folder: Path, stop: StopSignals, accuracy: dict[str, float]
) -> dict[str, object]:
    """Writes features.safetensors and sensitivity.csv; returns the content of evaluator.json.

    `accuracy` holds the test accuracy of a network that was trained on the data set, and is empty for any other.
    """
    train, test = prepared.split("train"), prepared.split("test")
    corrupted = min(CORRUPTED_IMAGES, len(test))
    n_corruptions = sum(len(amounts) for _, amounts in CORRUPTIONS.values())
    with Progress(
        len(train) + 2 * len(test) + n_corruptions * corrupted, "extracting features of real images"
    ) as progress:

        def advance(images: int) -> None:
            progress.advance(images)
            stop.check()

        train_features, test_features = _features(evaluator, train, advance), _features(evaluator, test, advance)
        moments = Moments.of(train_features)
        _save(folder, train_features, test_features, test.labels, moments, prepared.hash)
        checks = {
            "held_out": _distance(test_features, moments),
            "blurred": _distance(_features(evaluator, test, advance, OBVIOUS_BLUR), moments),
            **chance_distance(train_features, len(test_features), moments),
        }
        classes = dict(_distances_without_a_class(test_features, prepared, moments))
        if classes:
            checks["missing_class"] = min(classes.values())
        rows = [*_distances_when_corrupted(evaluator, test.gather(np.arange(corrupted)), moments, advance)]
        rows += [("missing class", name, distance) for name, distance in classes.items()]
    _write_sensitivity(folder / "sensitivity.csv", rows)
    passed = passes_checks(evaluator.kind, checks, accuracy)
    return {"network": evaluator.kind, "checks": checks, **accuracy, "counts": passed}


def passes_checks(kind: str, checks: dict[str, float], accuracy: dict[str, float]) -> bool:
    """Whether an evaluator can be trusted; `checks` are relative Fréchet distances to all training images.

    The accuracy, if any, must be MIN_ACCURACY. Small sets have large distances by chance: `chance`, the mean distance
    of as many training images, is subtracted first. Then held-out images may be MAX_HELD_OUT plus twice the chance
    away, and blurred images must be MIN_RATIO times as far as held-out ones and as the deviation of the chance. The
    same is asked of a missing class if the evaluator is a classifier; others, trained without labels, only report it.
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


def _save(
    folder: Path, train: np.ndarray, test: np.ndarray, labels: np.ndarray | None, moments: Moments, prepared: str
) -> None:
    rows = np.sort(np.random.default_rng(0).permutation(len(train))[:SAVED_TRAIN])
    arrays = {"test": test[:SAVED_TEST], "train": train[rows], "train_count": np.array(moments.count)}
    if labels is not None:
        arrays["test_labels"] = labels[:SAVED_TEST]
    tensors = {name: torch.from_numpy(value) for name, value in arrays.items()}
    tensors |= {"train_mean": moments.mean, "train_covariance": moments.covariance}
    save_tensors(folder / "features.safetensors", tensors, {"prepared": prepared})


def _features(evaluator: Evaluator, split: Split, advance: Advance, blurred: float = 0.0) -> np.ndarray:
    """Features float32 [N, F] of a split, whose images are blurred by this share of their side."""
    parts = []
    for images in split.blocks(BLOCK):
        parts.append(evaluator.features(blur(images, blurred * images.shape[-1]) if blurred else images))
        advance(len(images))
    return np.concatenate(parts)


def chance_distance(train: np.ndarray, count: int, moments: Moments) -> dict[str, float]:
    """Mean and deviation of the distance of `count` random training images to all of them, over CHANCE_SAMPLES."""
    random = np.random.default_rng(0)
    size = min(count, len(train))
    distances = [_distance(train[random.permutation(len(train))[:size]], moments) for _ in range(CHANCE_SAMPLES)]
    return {"chance": float(f"{np.mean(distances):.6g}"), "chance_deviation": float(f"{np.std(distances, ddof=1):.6g}")}


def _distances_without_a_class(
    features: np.ndarray, prepared: Prepared, moments: Moments
) -> Iterator[tuple[str, float]]:
    """Yields (label, distance of the test images of other labels), where two or more are left."""
    labels, names = prepared.split("test").labels, prepared.manifest.labels
    if labels is not None and len(names) > 1:
        for label in np.unique(labels):
            if (labels != label).sum() > 1:
                yield names[label], _distance(features[labels != label], moments)


def _distances_when_corrupted(
    evaluator: Evaluator, images: np.ndarray, moments: Moments, advance: Advance
) -> Iterator[tuple[str, str, float]]:
    """Yields (corruption, amount, distance of the corrupted images)."""
    for name, (corrupt, amounts) in CORRUPTIONS.items():
        for amount in amounts:
            yield name, f"{amount:g}", _distance(evaluator.features(corrupt(images, amount)), moments)
            advance(len(images))


def _write_sensitivity(path: Path, rows: list[tuple[str, str, float]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("spoilt_by", "amount", "fd_relative", "what"))
    writer.writerows((name, amount, distance, f"{name} {amount}") for name, amount, distance in rows)
    write_bytes(path, text.getvalue().encode())


def _distance(features: np.ndarray, moments: Moments) -> float:
    """Relative Fréchet distance to six digits; further digits depend on the order of sums."""
    return float(f"{relative_frechet_distance(Moments.of(features), moments):.6g}")
