"""The validation of an evaluator: the saved features, the distances of corrupted images, and the checks."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from models.learners.classifier import make_classifier
from tasks.common.params import load_params
from tasks.common.runtime import StopSignals
from tasks.common.tensors import load_tensors
from tasks.metrics.frechet import Moments, relative_frechet_distance
from tasks.preprocess.dataset import Prepared
from tasks.reference.evaluator import Evaluator
from tasks.reference.validate import CORRUPTIONS, add_noise, blur, chance_distance, passes_checks, validate_evaluator
from tests.tasks.noise_folders import draw, prepare

NO_CHANCE = {"chance": 0.0, "chance_deviation": 0.0}
GOOD = {"held_out": 0.001, "blurred": 0.5, "missing_class": 0.2} | NO_CHANCE


@pytest.fixture(scope="module")
def evaluator() -> Evaluator:
    settings = load_params().reference.model_copy(update={"channels": 4, "features": 8})
    return Evaluator(make_classifier(settings, "random", 1, 1))


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """A data set of noise in three classes."""
    root = tmp_path_factory.mktemp("labelled")
    for index, name in enumerate(("bag", "coat", "shoe")):
        draw(root / "raw" / name, 60, first=100 * index)
    return prepare(root / "raw", root / "prepared")


@pytest.fixture(scope="module")
def validated(
    evaluator: Evaluator, labelled: Prepared, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any]]:
    """The output folder, and the content of evaluator.json."""
    return validate(evaluator, labelled, tmp_path_factory.mktemp("reference"))


def validate(
    evaluator: Evaluator, prepared: Prepared, folder: Path, accuracy: dict[str, float] | None = None
) -> tuple[Path, dict[str, Any]]:
    return folder, validate_evaluator(evaluator, prepared, folder, StopSignals(), accuracy or {})


def every(prepared: Prepared, split: str) -> np.ndarray:
    (images,) = prepared.split(split).blocks(10_000)  # type: ignore[arg-type]
    return np.asarray(images)


def sensitivity(folder: Path) -> dict[tuple[str, str], float]:
    with (folder / "sensitivity.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    found = {(row["corrupted_by"], row["amount"]): float(row["fd_relative"]) for row in rows}
    assert len(found) == len(rows)
    return found


def test_features_are_those_of_the_real_images(
    validated: tuple[Path, dict[str, Any]], evaluator: Evaluator, labelled: Prepared
) -> None:
    tensors, about = load_tensors(validated[0] / "features.safetensors")
    train, test = (evaluator.features(every(labelled, split)) for split in ("train", "test"))
    np.testing.assert_allclose(tensors["test"], test, rtol=1e-5)
    np.testing.assert_allclose(tensors["train"], train, rtol=1e-5)
    np.testing.assert_array_equal(tensors["test_labels"], labelled.split("test").labels)
    moments = Moments.of(train)
    np.testing.assert_allclose(tensors["train_mean"], moments.mean, rtol=1e-6)
    np.testing.assert_allclose(tensors["train_covariance"], moments.covariance, rtol=1e-5)
    assert int(tensors["train_count"]) == len(train)
    assert about == {"prepared": labelled.hash}


def test_every_corruption_amount_and_class_has_one_row(validated: tuple[Path, dict[str, Any]]) -> None:
    corruptions = {(name, f"{amount:g}") for name, (_, amounts) in CORRUPTIONS.items() for amount in amounts}
    classes = {("missing class", name) for name in ("bag", "coat", "shoe")}
    assert set(sensitivity(validated[0])) == corruptions | classes


def test_rows_are_distances_of_the_corrupted_images(
    validated: tuple[Path, dict[str, Any]], evaluator: Evaluator, labelled: Prepared
) -> None:
    rows, test, labels = sensitivity(validated[0]), every(labelled, "test"), labelled.split("test").labels
    real = Moments.of(evaluator.features(every(labelled, "train")))

    def distance(images: np.ndarray) -> float:
        return relative_frechet_distance(Moments.of(evaluator.features(images)), real)

    assert rows["blur", "2"] == pytest.approx(distance(blur(test, 2)), rel=1e-3)
    assert rows["noise", "16"] == pytest.approx(distance(add_noise(test, 16)), rel=1e-3)
    assert rows["background", "0"] == pytest.approx(distance(test), rel=1e-3)
    assert rows["missing class", "coat"] == pytest.approx(distance(test[labels != 1]), rel=1e-3)


def test_more_blur_gives_larger_distances(validated: tuple[Path, dict[str, Any]]) -> None:
    rows = sensitivity(validated[0])
    distances = [rows["background", "0"], *(rows["blur", f"{amount:g}"] for amount in CORRUPTIONS["blur"][1])]
    assert distances == sorted(distances)
    assert distances[-1] > 2 * distances[0]


def test_the_report_agrees_with_the_written_distances(validated: tuple[Path, dict[str, Any]]) -> None:
    folder, report = validated
    rows = sensitivity(folder)
    missing = min(rows["missing class", name] for name in ("bag", "coat", "shoe"))
    assert report["network"] == "random"
    assert report["checks"] == {
        "held_out": rows["background", "0"],
        "blurred": rows["blur", "2"],
        "chance": report["checks"]["chance"],
        "chance_deviation": report["checks"]["chance_deviation"],
        "missing_class": missing,
    }
    assert report["trusted"] == passes_checks("random", report["checks"], {})
    assert "accuracy" not in report


def test_the_accuracy_of_a_trained_evaluator_is_reported(
    evaluator: Evaluator, labelled: Prepared, tmp_path: Path
) -> None:
    assert validate(evaluator, labelled, tmp_path, {"accuracy": 0.5})[1]["accuracy"] == 0.5


def test_no_class_is_left_out_without_labels(evaluator: Evaluator, tmp_path: Path) -> None:
    draw(tmp_path / "raw", 100)
    prepared = prepare(tmp_path / "raw", tmp_path / "prepared")
    (tmp_path / "reference").mkdir()
    folder, report = validate(evaluator, prepared, tmp_path / "reference")
    assert set(report["checks"]) == {"held_out", "blurred", "chance", "chance_deviation"}
    assert not [way for way, _ in sensitivity(folder) if way == "missing class"]
    assert "test_labels" not in load_tensors(folder / "features.safetensors")[0]


def test_a_class_is_not_left_out_if_one_image_would_remain(evaluator: Evaluator, tmp_path: Path) -> None:
    """One image has no covariance."""
    for split, name, count, first in (
        ("train", "bag", 40, 0),
        ("train", "coat", 40, 100),
        ("val", "bag", 8, 200),
        ("test", "bag", 20, 300),
        ("test", "coat", 1, 400),
    ):
        draw(tmp_path / "raw" / split / name, count, first)
    prepared = prepare(tmp_path / "raw", tmp_path / "prepared")
    (tmp_path / "reference").mkdir()
    folder, report = validate(evaluator, prepared, tmp_path / "reference")
    assert [name for way, name in sensitivity(folder) if way == "missing class"] == ["coat"]
    assert torch.isfinite(torch.tensor(report["checks"]["missing_class"]))


@pytest.mark.parametrize("kind", ["classifier", "selfsupervised", "random", "inception", "dinov2"])
def test_good_distances_pass(kind: str) -> None:
    assert passes_checks(kind, GOOD, {"accuracy": 0.95})
    assert passes_checks(kind, {name: value for name, value in GOOD.items() if name != "missing_class"}, {})


@pytest.mark.parametrize("kind", ["classifier", "selfsupervised", "random", "inception", "dinov2"])
@pytest.mark.parametrize(
    ("checks", "accuracy"),
    [
        (GOOD | {"blurred": 0.0099}, {}),
        (GOOD | {"held_out": 0.0021}, {}),
        (GOOD, {"accuracy": 0.91}),
    ],
    ids=["insensitive to blur", "far from held-out images", "inaccurate"],
)
def test_every_kind_fails_on_a_bad_check(kind: str, checks: dict[str, float], accuracy: dict[str, float]) -> None:
    assert not passes_checks(kind, checks, accuracy)


def test_only_a_classifier_fails_on_a_missing_class() -> None:
    insensitive = GOOD | {"missing_class": 0.0099}
    assert not passes_checks("classifier", insensitive, {"accuracy": 0.95})
    for kind in ("selfsupervised", "random", "inception", "dinov2"):
        assert passes_checks(kind, insensitive, {"accuracy": 0.95})


def test_values_at_the_limits_pass() -> None:
    checks = {"held_out": 0.002, "blurred": 0.02, "missing_class": 0.02}
    assert passes_checks("classifier", checks | NO_CHANCE, {"accuracy": 0.92})


def test_the_chance_distance_of_few_images_is_subtracted() -> None:
    """Distances of the 251 test images of `digits`; as many training images have a distance of 0.015."""
    few = {"held_out": 0.0129, "blurred": 0.0801, "missing_class": 0.0768, "chance": 0.0149, "chance_deviation": 0.0035}
    assert passes_checks("classifier", few, {"accuracy": 0.98})
    assert not passes_checks("classifier", few | {"blurred": 0.03}, {"accuracy": 0.98}), "chance might explain the blur"
    assert not passes_checks("classifier", few | {"held_out": 0.06}, {"accuracy": 0.98}), (
        "the distance of held-out images is not due to chance"
    )
    assert not passes_checks("classifier", few | NO_CHANCE, {"accuracy": 0.98})


def test_chance_is_the_distance_of_as_many_images_of_the_same_distribution() -> None:
    random = np.random.default_rng(3)
    train = random.standard_normal((20_000, 8))
    moments = Moments.of(train)
    fresh = [relative_frechet_distance(Moments.of(random.standard_normal((200, 8))), moments) for _ in range(30)]
    chance = chance_distance(train, 200, moments)
    assert chance["chance"] == pytest.approx(np.mean(fresh), rel=0.2)
    assert chance["chance_deviation"] == pytest.approx(np.std(fresh), rel=0.6)
    assert chance_distance(train, 2_000, moments)["chance"] < 0.2 * chance["chance"]
