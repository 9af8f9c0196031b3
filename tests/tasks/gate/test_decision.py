"""The gate's decision on features from known distributions: worse, better, or neither for certain."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from models.networks.classifier import Classifier, ClassifierConfig
from tasks.common.errors import UserError
from tasks.common.files import write_json
from tasks.common.params import load_params
from tasks.evaluate.scores import rarest_label
from tasks.gate.bundles import BundleEvaluation, evaluate_bundle, evaluate_features
from tasks.gate.decision import decide
from tasks.gate.record import GateDecision
from tasks.metrics.bootstrap import Interval
from tasks.metrics.frechet import Moments
from tasks.reference.evaluator import Evaluator
from tasks.reference.protocol import Protocol
from tasks.reference.statistics import RealFeatures, ReferenceStatistics
from tests.pretended import pretended_gpu

PARAMS = load_params()
SETTINGS = PARAMS.evaluate.model_copy(update={"n_images": 1000, "subsets": 10, "subset_size": 100})
GATE = PARAMS.gate.model_copy(update={"bootstrap_samples": 100})


def normal(seed: int, count: int, shift: float = 0.0, scale: float = 1.0) -> np.ndarray:
    return (scale * np.random.default_rng(seed).standard_normal((count, 4)) + shift + 3).astype(np.float32)


TRAIN, TEST = normal(1, 3000), normal(2, 1000)
REAL = RealFeatures(torch.from_numpy(TEST), None, torch.from_numpy(TRAIN), Moments.of(TEST), Moments.of(TRAIN))
SHAPE = ClassifierConfig(image_channels=1, channels=1, features=4, classes=1, kind="random")
PROTOCOL = Protocol(
    network="random",
    weights="a" * 64,
    resizer="none",
    reference="b" * 64,
    n_images=1000,
    n_test=1000,
    n_neighbour_scores=1000,
    neighbours=5,
    subsets=10,
    subset_size=100,
    seed=0,
)
STATISTICS = ReferenceStatistics(Evaluator(Classifier(SHAPE)), REAL, PROTOCOL, trusted=True, prepared="")


def evaluated(
    features: np.ndarray, second: np.ndarray | None = None, reference: ReferenceStatistics = STATISTICS
) -> BundleEvaluation:
    first, near = evaluate_features(reference, features, SETTINGS), reference.real.memorisation_test(features)
    first.metrics["memorised"] = near.share
    other = None if second is None else evaluate_features(reference, second, SETTINGS)
    return BundleEvaluation(Path("a"), "gan", "0" * 64, first, other, near, "bag", np.zeros((1, 1, 4, 4), np.uint8))


def decision(candidate: np.ndarray, live: np.ndarray | None) -> GateDecision:
    return decide(evaluated(candidate), None if live is None else evaluated(live), GATE, seed=0)


def verdicts(found: GateDecision) -> dict[str, str]:
    return {name: one.verdict for name, one in found.comparisons.items()}


LIVE = normal(3, 1000, shift=0.4)


def test_a_model_may_take_its_own_place() -> None:
    found = decision(LIVE, LIVE)
    assert found.passed
    assert verdicts(found) == {"fd_relative": "no worse", "coverage": "no worse", "precision": "no worse"}


def test_a_gpu_gives_the_verdicts_of_a_cpu() -> None:
    with pretended_gpu() as device:
        real = replace(REAL, test=REAL.test.to(device), train=REAL.train.to(device))
        sides = [evaluated(each, each, replace(STATISTICS, real=real)) for each in (normal(4, 1000, shift=0.3), LIVE)]
        there = decide(*sides, GATE, seed=0)
    here = decide(
        evaluated(normal(4, 1000, shift=0.3), normal(4, 1000, shift=0.3)), evaluated(LIVE, LIVE), GATE, seed=0
    )
    assert there.comparisons == here.comparisons
    assert there.reasons == here.reasons


def test_a_better_candidate_is_called_better() -> None:
    found = decision(normal(4, 1000, shift=0.1), LIVE)
    assert found.passed
    assert verdicts(found)["fd_relative"] == "better"


def test_twice_the_margin_worse_is_refused() -> None:
    """A shift whose square is 1 + 2 x the margin times the live one's; the interval is far narrower than the margin."""
    worse = 0.4 * np.sqrt(1 + 2 * GATE.margin.fd_relative)
    found = decision(LIVE + np.float32(worse - 0.4), LIVE)
    assert not found.passed
    assert verdicts(found)["fd_relative"] == "worse"
    pattern = (
        r"regression: fd_relative is [\d.]+ to [\d.]+ times that of the live model; the whole interval lies beyond the "
        r"margin of 1\.35"
    )
    assert re.fullmatch(pattern, found.reasons[0])


def test_a_candidate_that_may_be_worse_is_refused_as_such() -> None:
    tight = GATE.model_copy(update={"margin": GATE.margin.model_copy(update={"fd_relative": 0.0})})
    found = decide(evaluated(normal(5, 1000, shift=0.4)), evaluated(LIVE), tight, seed=0)
    assert verdicts(found)["fd_relative"] == "perhaps worse"
    assert not found.passed
    assert found.reasons[0].endswith("times that of the live model; part of the interval lies beyond the margin of 1")


def test_half_of_the_variety_is_refused_for_its_coverage() -> None:
    half = normal(6, 1000)
    half = half[half[:, 0] > 3]
    found = decision(np.concatenate([half, half])[:1000], normal(7, 1000))
    assert not found.passed
    assert verdicts(found)["coverage"] == "worse"
    pattern = r"regression: coverage differs from that of the live model by -[\d.]+ to -[\d.]+; the whole interval .*"
    assert any(re.fullmatch(pattern, reason) for reason in found.reasons)


def test_copied_training_images_are_refused_although_every_other_metric_is_good() -> None:
    found = decision(TRAIN[:1000], LIVE)
    assert verdicts(found)["fd_relative"] == "better"
    assert [reason.split(":")[0] for reason in found.reasons] == ["limit"]
    assert "memorised is 1, above gate.limits.memorised = 0.05" in found.reasons[0]


@pytest.mark.parametrize(("name", "value"), [("fd_relative", 0.6), ("precision", 0.2), ("coverage", np.nan)])
def test_limits_hold_without_a_live_model(name: str, value: float) -> None:
    good = evaluated(normal(7, 1000))
    assert decide(good, None, GATE, seed=0).passed
    bad = replace(good.first, metrics=good.first.metrics | {name: value})
    found = decide(replace(good, first=bad), None, GATE, seed=0)
    assert len(found.reasons) == 1
    assert f"gate.limits.{name}" in found.reasons[0]


def test_a_metric_equal_to_its_limit_keeps_it() -> None:
    good = evaluated(normal(7, 1000))
    at = replace(good.first, metrics=good.first.metrics | GATE.limits.model_dump())
    assert decide(replace(good, first=at), None, GATE, seed=0).passed


def test_copied_images_within_the_limit_are_named_where_they_are_significant() -> None:
    good = evaluated(normal(7, 1000))
    near, metrics = replace(good.memorisation, share=0.1, p_value=1e-9), good.first.metrics | {"memorised": 0.1}
    lenient = GATE.model_copy(update={"limits": GATE.limits.model_copy(update={"memorised": 0.1})})
    few = replace(good, memorisation=near, first=replace(good.first, metrics=metrics))
    assert decide(few, None, lenient, seed=0).reasons == [
        "memorisation: 10.0% of the images are nearly training images"
    ]


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(0.1, 0.2, "better"), (0.0, 0.2, "no worse"), (-0.5, 0.2, "no worse"), (-0.6, -0.5, "perhaps worse")],
)
def test_an_interval_that_touches_a_margin_is_within_it(
    monkeypatch: pytest.MonkeyPatch, low: float, high: float, verdict: str
) -> None:
    monkeypatch.setattr("tasks.gate.decision.mean_difference", lambda *_: Interval((low + high) / 2, low, high))
    halves = GATE.margin.model_copy(update={"coverage": 0.5, "precision": 0.5})
    found = decide(evaluated(LIVE), evaluated(LIVE), GATE.model_copy(update={"margin": halves}), seed=0)
    assert verdicts(found) == {"fd_relative": "no worse", "coverage": verdict, "precision": verdict}


def test_a_conditional_model_is_not_evaluated_with_images_without_labels(tmp_path: Path) -> None:
    generator = {"inputs": ["noise", "label"], "outputs": [{"shape": ["N", 1, 4, 4]}], "labels": ["bag", "coat"]}
    write_json(tmp_path / "contract.json", {"model": "gan", "models": {"gan.onnx": generator}})
    with pytest.raises(UserError, match="is conditional and the test images have no labels"):
        evaluate_bundle(tmp_path, [STATISTICS], PARAMS)


def test_a_regression_by_the_second_evaluator_alone_is_refused() -> None:
    worse = LIVE + np.float32(0.4 * np.sqrt(1 + 2 * GATE.margin.fd_relative_second) - 0.4)
    found = decide(evaluated(LIVE, second=worse), evaluated(LIVE, second=LIVE), GATE, seed=0)
    assert verdicts(found)["fd_relative"] == "no worse"
    assert verdicts(found)["fd_relative_second"] == "worse"
    assert not found.passed


def test_metrics_of_two_protocols_are_not_compared() -> None:
    other = replace(STATISTICS, protocol=PROTOCOL.model_copy(update={"n_images": 500, "reference": "c" * 64}))
    with pytest.raises(UserError, match=r"reference b+ and c+, n_images 1000 and 500"):
        decide(evaluated(LIVE), evaluated(LIVE, reference=other), GATE, seed=0)


def test_a_label_that_is_hardly_generated_is_refused_by_name() -> None:
    good = evaluated(normal(7, 1000))
    rare = replace(good, first=replace(good.first, metrics=good.first.metrics | {"label_share": 0.1}))
    assert decide(rare, None, GATE, seed=0).reasons == [
        "limit: bag has 0.1 times its share of the test images, below gate.limits.label_share = 0.3"
    ]


class Reader:
    """An evaluator that returns the first feature as the label."""

    def labels(self, features: np.ndarray) -> np.ndarray:
        return features[:, 0].astype(np.int64)


def test_the_rarest_label_has_the_lowest_share_relative_to_the_test_images() -> None:
    def features(*counts: int) -> np.ndarray:
        return np.repeat(np.arange(len(counts)), counts)[:, None].astype(np.float32)

    evaluator: Any = Reader()
    real = replace(REAL, test=features(600, 300, 100))
    assert rarest_label(evaluator, features(500, 450, 50), real) == (2, pytest.approx(0.5))
    assert rarest_label(evaluator, features(10), real) == (1, 0.0)
    assert rarest_label(STATISTICS.evaluator, LIVE, REAL) is None
