"""What a judge says of real images: the kept features, the answers to spoilt ones, and whether it counts."""

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
from tasks.reference.corruptions import CORRUPTIONS, add_noise, blur
from tasks.reference.evaluator import Evaluator
from tasks.reference.validate import chance_distance, passes_checks, validate_evaluator
from tests.tasks.noise_folders import draw, prepare

NO_CHANCE = {"chance": 0.0, "chance_deviation": 0.0}
GOOD = {"held_out": 0.001, "blurred": 0.5, "missing_class": 0.2} | NO_CHANCE


@pytest.fixture(scope="module")
def evaluator() -> Evaluator:
    settings = load_params().reference.model_copy(update={"channels": 4, "features": 8})
    return Evaluator(make_classifier(settings, "random", 1, 1))


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """Noise in three classes."""
    root = tmp_path_factory.mktemp("labelled")
    for index, name in enumerate(("bag", "coat", "shoe")):
        draw(root / "raw" / name, 60, first=100 * index)
    return prepare(root / "raw", root / "prepared")


@pytest.fixture(scope="module")
def seen(
    evaluator: Evaluator, labelled: Prepared, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any]]:
    """The folder that was written and what evaluator.json is to hold."""
    return looked(evaluator, labelled, tmp_path_factory.mktemp("reference"))


def looked(
    evaluator: Evaluator, prepared: Prepared, folder: Path, accuracy: dict[str, float] | None = None
) -> tuple[Path, dict[str, Any]]:
    return folder, validate_evaluator(evaluator, prepared, folder, StopSignals(), accuracy or {})


def every(prepared: Prepared, split: str) -> np.ndarray:
    (images,) = prepared.split(split).blocks(10_000)  # type: ignore[arg-type]
    return np.asarray(images)


def sensitivity(folder: Path) -> dict[tuple[str, str], float]:
    with (folder / "sensitivity.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    found = {(row["spoilt_by"], row["amount"]): float(row["fd_relative"]) for row in rows}
    assert len(found) == len(rows)
    return found


def test_features_are_those_of_the_real_images(
    seen: tuple[Path, dict[str, Any]], evaluator: Evaluator, labelled: Prepared
) -> None:
    tensors, about = load_tensors(seen[0] / "features.safetensors")
    train, test = (evaluator.features(every(labelled, split)) for split in ("train", "test"))
    np.testing.assert_allclose(tensors["test"], test, rtol=1e-5)
    np.testing.assert_allclose(tensors["train"], train, rtol=1e-5)
    np.testing.assert_array_equal(tensors["test_labels"], labelled.split("test").labels)
    moments = Moments.of(train)
    np.testing.assert_allclose(tensors["train_mean"], moments.mean, rtol=1e-6)
    np.testing.assert_allclose(tensors["train_covariance"], moments.covariance, rtol=1e-5)
    assert int(tensors["train_count"]) == len(train)
    assert about == {"prepared": labelled.hash}


def test_every_way_amount_and_class_has_one_row(seen: tuple[Path, dict[str, Any]]) -> None:
    ways = {(way, f"{amount:g}") for way, (_, amounts) in CORRUPTIONS.items() for amount in amounts}
    classes = {("missing class", name) for name in ("bag", "coat", "shoe")}
    assert set(sensitivity(seen[0])) == ways | classes


def test_rows_are_distances_of_the_spoilt_images(
    seen: tuple[Path, dict[str, Any]], evaluator: Evaluator, labelled: Prepared
) -> None:
    rows, test, labels = sensitivity(seen[0]), every(labelled, "test"), labelled.split("test").labels
    real = Moments.of(evaluator.features(every(labelled, "train")))

    def distance(images: np.ndarray) -> float:
        return relative_frechet_distance(Moments.of(evaluator.features(images)), real)

    assert rows["blur", "2"] == pytest.approx(distance(blur(test, 2)), rel=1e-3)
    assert rows["noise", "16"] == pytest.approx(distance(add_noise(test, 16)), rel=1e-3)
    assert rows["background", "0"] == pytest.approx(distance(test), rel=1e-3)
    assert rows["missing class", "coat"] == pytest.approx(distance(test[labels != 1]), rel=1e-3)


def test_distances_grow_with_the_blur(seen: tuple[Path, dict[str, Any]]) -> None:
    rows = sensitivity(seen[0])
    distances = [rows["background", "0"], *(rows["blur", f"{amount:g}"] for amount in CORRUPTIONS["blur"][1])]
    assert distances == sorted(distances)
    assert distances[-1] > 2 * distances[0]


def test_the_verdict_is_drawn_from_what_is_written(seen: tuple[Path, dict[str, Any]]) -> None:
    folder, verdict = seen
    rows = sensitivity(folder)
    missing = min(rows["missing class", name] for name in ("bag", "coat", "shoe"))
    assert verdict["network"] == "random"
    assert verdict["checks"] == {
        "held_out": rows["background", "0"],
        "blurred": rows["blur", "2"],
        "chance": verdict["checks"]["chance"],
        "chance_deviation": verdict["checks"]["chance_deviation"],
        "missing_class": missing,
    }
    assert verdict["counts"] == passes_checks("random", verdict["checks"], {})
    assert "accuracy" not in verdict


def test_accuracy_is_published_of_a_judge_that_learnt(evaluator: Evaluator, labelled: Prepared, tmp_path: Path) -> None:
    assert looked(evaluator, labelled, tmp_path, {"accuracy": 0.5})[1]["accuracy"] == 0.5


def test_images_without_labels_have_no_classes_to_miss(evaluator: Evaluator, tmp_path: Path) -> None:
    draw(tmp_path / "raw", 100)
    prepared = prepare(tmp_path / "raw", tmp_path / "prepared")
    (tmp_path / "reference").mkdir()
    folder, verdict = looked(evaluator, prepared, tmp_path / "reference")
    assert set(verdict["checks"]) == {"held_out", "blurred", "chance", "chance_deviation"}
    assert not [way for way, _ in sensitivity(folder) if way == "missing class"]
    assert "test_labels" not in load_tensors(folder / "features.safetensors")[0]


def test_a_class_that_is_nearly_all_of_the_test_images_is_not_left_out(evaluator: Evaluator, tmp_path: Path) -> None:
    """Without it one image would be left, of which no covariance exists."""
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
    folder, verdict = looked(evaluator, prepared, tmp_path / "reference")
    assert [name for way, name in sensitivity(folder) if way == "missing class"] == ["coat"]
    assert torch.isfinite(torch.tensor(verdict["checks"]["missing_class"]))


@pytest.mark.parametrize("kind", ["classifier", "selfsupervised", "random", "inception", "dinov2"])
def test_a_judge_that_sees_everything_counts(kind: str) -> None:
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
    ids=["blind to blur", "far from held-out images", "ignorant"],
)
def test_no_judge_counts_that_fails_what_all_are_asked(
    kind: str, checks: dict[str, float], accuracy: dict[str, float]
) -> None:
    assert not passes_checks(kind, checks, accuracy)


def test_a_missing_class_is_asked_of_a_classifier_alone() -> None:
    blind = GOOD | {"missing_class": 0.0099}
    assert not passes_checks("classifier", blind, {"accuracy": 0.95})
    for kind in ("selfsupervised", "random", "inception", "dinov2"):
        assert passes_checks(kind, blind, {"accuracy": 0.95})


def test_the_edges_of_what_counts() -> None:
    checks = {"held_out": 0.002, "blurred": 0.02, "missing_class": 0.02}
    assert passes_checks("classifier", checks | NO_CHANCE, {"accuracy": 0.92})


def test_what_few_images_have_by_chance_does_not_speak_against_a_judge() -> None:
    """Figures of 251 test images of `digits`: as many training images are 0.015 from all of them."""
    few = {"held_out": 0.0129, "blurred": 0.0801, "missing_class": 0.0768, "chance": 0.0149, "chance_deviation": 0.0035}
    assert passes_checks("classifier", few, {"accuracy": 0.98})
    assert not passes_checks("classifier", few | {"blurred": 0.03}, {"accuracy": 0.98}), "chance might explain the blur"
    assert not passes_checks("classifier", few | {"held_out": 0.06}, {"accuracy": 0.98}), (
        "it tells training images apart"
    )
    assert not passes_checks("classifier", few | NO_CHANCE, {"accuracy": 0.98})


def test_chance_is_the_distance_of_as_many_images_of_the_same_law() -> None:
    random = np.random.default_rng(3)
    train = random.standard_normal((20_000, 8))
    moments = Moments.of(train)
    fresh = [relative_frechet_distance(Moments.of(random.standard_normal((200, 8))), moments) for _ in range(30)]
    found = chance_distance(train, 200, moments)
    assert found["chance"] == pytest.approx(np.mean(fresh), rel=0.2)
    assert found["chance_deviation"] == pytest.approx(np.std(fresh), rel=0.6)
    assert chance_distance(train, 2_000, moments)["chance"] < 0.2 * found["chance"]
