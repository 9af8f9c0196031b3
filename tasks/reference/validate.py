"""What a judge says of the real images, as they are and spoilt on purpose, and whether its distances count."""

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

KEPT, KEPT_TRAIN = 10_000, 200_000  # test and training images whose features are kept
CORRUPTED_IMAGES = 2_500  # test images, each spoilt in every way
BLOCK = 5_000
LEAST_ACCURACY, MOST_HELD_OUT, LEAST_RATIO = 0.92, 0.002, 10.0
CHANCE_DRAWS = 10
SEEN_BLUR = 1 / 14  # of an image's side, as a deviation: what nobody overlooks, however smooth the images are
Change = Callable[[np.ndarray], np.ndarray]
Seen = Callable[[int], None]


def look(
    evaluator: Evaluator, prepared: Prepared, folder: Path, stop: StopSignals, accuracy: dict[str, float]
) -> dict[str, object]:
    """Writes features and moments of the real images and the judge's answers to spoilt ones; returns evaluator.json.

    `accuracy` is that of a network that learnt something, and empty for any other.
    """
    train, test = prepared.split("train"), prepared.split("test")
    some = min(CORRUPTED_IMAGES, len(test))
    ways = sum(len(amounts) for _, amounts in CORRUPTIONS.values())
    with Progress(len(train) + 2 * len(test) + ways * some, "looking at the real images") as shown:

        def seen(images: int) -> None:
            shown.advance(images)
            stop.check()

        train_features, test_features = _features(evaluator, train, seen), _features(evaluator, test, seen)
        moments = Moments.of(train_features)
        _save(folder, train_features, test_features, test.labels, moments, prepared.hash)
        checks = {
            "held_out": _distance(test_features, moments),
            "blurred": _distance(_features(evaluator, test, seen, _blurred), moments),
            **chance(train_features, len(test_features), moments),
        }
        classes = dict(_without_a_class(test_features, prepared, moments))
        if classes:
            checks["missing_class"] = min(classes.values())
        rows = [*_corrupted(evaluator, test.gather(np.arange(some)), moments, seen)]
        rows += [("missing class", name, distance) for name, distance in classes.items()]
    _write_sensitivity(folder / "sensitivity.csv", rows)
    return {"network": evaluator.kind, "checks": checks, **accuracy, "counts": counts(evaluator.kind, checks, accuracy)}


def counts(kind: str, checks: dict[str, float], accuracy: dict[str, float]) -> bool:
    """Whether a judge's figures are to be believed: it knows what it learnt, and sees what people see.

    Distances of few images are long by chance; what as many training images have (`chance`, `chance_deviation`) is
    taken off first. Held-out images may then be far by MOST_HELD_OUT and twice that chance; a spoilt set must be
    LEAST_RATIO times as far as they are, or as chance moves it. A missing class must show to a classifier; what other
    networks, which were told of no classes, make of it is published and not asked for.
    """
    asked = [
        checks["blurred"],
        *([checks["missing_class"]] if kind == "classifier" and "missing_class" in checks else []),
    ]
    chance, held_out = checks["chance"], checks["held_out"] - checks["chance"]
    return (
        accuracy.get("accuracy", 1.0) >= LEAST_ACCURACY
        and held_out <= MOST_HELD_OUT + 2 * chance
        and min(asked) - chance >= LEAST_RATIO * max(held_out, checks["chance_deviation"])
    )


def _save(
    folder: Path, train: np.ndarray, test: np.ndarray, labels: np.ndarray | None, moments: Moments, data: str
) -> None:
    arrays = {
        "test": test[:KEPT],
        "train": train[_some(len(train))],
        **({} if labels is None else {"test_labels": labels[:KEPT]}),
        "train_count": np.array(moments.count),
    }
    tensors = {name: torch.from_numpy(value) for name, value in arrays.items()}
    tensors |= {"train_mean": moments.mean, "train_covariance": moments.covariance}
    save_tensors(folder / "features.safetensors", tensors, {"prepared": data})


def _features(evaluator: Evaluator, split: Split, seen: Seen, change: Change | None = None) -> np.ndarray:
    parts = []
    for images in split.blocks(BLOCK):
        parts.append(evaluator.features(images if change is None else change(images)))
        seen(len(images))
    return np.concatenate(parts)


def _without_a_class(features: np.ndarray, prepared: Prepared, moments: Moments) -> Iterator[tuple[str, float]]:
    """By label, the distance of the test images without those of that label, where two or more are left."""
    labels, names = prepared.split("test").labels, prepared.manifest.labels
    if labels is not None and len(names) > 1:
        for label in np.unique(labels):
            if (labels != label).sum() > 1:
                yield names[label], _distance(features[labels != label], moments)


def _blurred(images: np.ndarray) -> np.ndarray:
    return blur(images, SEEN_BLUR * images.shape[-1])


def chance(train: np.ndarray, count: int, moments: Moments) -> dict[str, float]:
    """What distance `count` training images have from all of them: the mean of some draws, and its deviation."""
    random = np.random.default_rng(0)
    size = min(count, len(train))
    found = [_distance(train[random.permutation(len(train))[:size]], moments) for _ in range(CHANCE_DRAWS)]
    return {"chance": float(f"{np.mean(found):.6g}"), "chance_deviation": float(f"{np.std(found, ddof=1):.6g}")}


def _corrupted(
    evaluator: Evaluator, images: np.ndarray, moments: Moments, seen: Seen
) -> Iterator[tuple[str, str, float]]:
    """By way and amount, the distance of the images once they are spoilt."""
    for way, (corrupt, amounts) in CORRUPTIONS.items():
        for amount in amounts:
            yield way, f"{amount:g}", _distance(evaluator.features(corrupt(images, amount)), moments)
            seen(len(images))


def _write_sensitivity(path: Path, rows: list[tuple[str, str, float]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("spoilt_by", "amount", "fd_relative", "what"))
    writer.writerows((way, amount, distance, f"{way} {amount}") for way, amount, distance in rows)
    write_bytes(path, text.getvalue().encode())


def _distance(features: np.ndarray, moments: Moments) -> float:
    """Six digits of the relative Fréchet distance: more would be the noise of sums in another order."""
    return float(f"{relative_frechet_distance(Moments.of(features), moments):.6g}")


def _some(count: int) -> np.ndarray:
    """At most KEPT_TRAIN row numbers, drawn with a fixed seed, in order."""
    return np.sort(np.random.default_rng(0).permutation(count)[:KEPT_TRAIN])
