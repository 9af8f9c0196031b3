"""Trials of the gate: the live model's images, unchanged or corrupted, against its images from other noise.

Each trial has its own noise on both sides; with one set of live images for all trials, a lucky set would count many
times.
"""

import argparse
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

import numpy as np
from checkouts import ROOT
from rows import Row, at_least, at_most

sys.path.insert(0, str(ROOT))

from tasks.common.params import Params, load_params
from tasks.common.runtime import limit_threads
from tasks.evaluate.sampling import ExportedGenerator
from tasks.evaluate.scores import neighbour_membership, rarest_label, relative_distance
from tasks.export.session import session
from tasks.gate.bundles import BundleEvaluation, EvaluatedFeatures
from tasks.gate.decision import decide
from tasks.gate.record import GateDecision
from tasks.metrics.frechet import Moments
from tasks.preprocess.dataset import open_prepared
from tasks.reference.statistics import ReferenceStatistics, load_statistics_of_both
from tasks.reference.validate import blur, reduce_contrast

LABELS = 10
LIVE_SEED = 1_000_000  # first seed of the live model's noise in trials
WITHIN, HALVINGS = 0.02, 30  # relative error of the distance that is searched for; steps of the bisection


def measured_bundle(
    images: np.ndarray, references: tuple[ReferenceStatistics, ReferenceStatistics], params: Params
) -> BundleEvaluation:
    """Evaluates images uint8 [N, C, H, W] with both extractors; returns what a decision needs."""
    first, second = (measured_view(one, images, params) for one in references)
    near, real = references[0].real.memorisation_test(first.features), references[0].real
    rarest = rarest_label(references[0].evaluator, first.features, real)
    assert rarest is not None
    first.metrics.update({"memorised": near.share, "label_share": rarest[1]})
    return BundleEvaluation(Path("bench"), "gan", "", first, second, near, f"label {rarest[0]}", images[:1])


def measured_view(reference: ReferenceStatistics, images: np.ndarray, params: Params) -> EvaluatedFeatures:
    """Does what `tasks.gate.bundles.evaluate_features` does, without the metrics that no decision uses."""
    features = reference.evaluator.features(images)
    members = neighbour_membership(features, reference.real, params.evaluate)
    figures = {
        "fd_relative": relative_distance(features, reference.real),
        "precision": float(members.precise.mean()),
        "coverage": float(members.covered.mean()),
    }
    return EvaluatedFeatures(reference, features, figures, members)


Corruption = Callable[["Trial", np.ndarray], np.ndarray]  # images uint8 [n, C, H, W] to images


@dataclass
class Trial:
    """What a process needs for its trials; one per process."""

    params: Params
    references: tuple[ReferenceStatistics, ReferenceStatistics]
    live: Path
    number: int = 0

    def generate(self, seed: int, count: int) -> np.ndarray:
        """Generates `count` images with the live model."""
        settings = self.params.evaluate.model_copy(update={"seed": seed, "n_images": count})
        return ExportedGenerator(session(self.live, 1), settings, []).gather(np.arange(count))

    @cached_property
    def beside(self) -> BundleEvaluation:
        """The live model's images from other noise."""
        images = self.generate(LIVE_SEED + self.number, self.params.evaluate.n_images)
        return measured_bundle(images, self.references, self.params)

    def of_labels(self, kept: set[int]) -> np.ndarray:
        """Returns generated images that the first evaluator classifies as one of these labels."""
        count, evaluator, found = self.params.evaluate.n_images, self.references[0].evaluator, list[np.ndarray]()
        for part in range(100):
            images = self.generate(10_000 + 100 * self.number + part, count)
            labels = evaluator.labels(evaluator.features(images))
            assert labels is not None
            found.append(images[np.isin(labels, list(kept))])
            if sum(map(len, found)) >= count:
                return np.concatenate(found)[:count]
        sys.exit(f"error: the live model generates too few images of the labels {sorted(kept)}")


def half_of_the_labels(trial: Trial, _: np.ndarray) -> np.ndarray:
    """Returns images of five labels out of ten, others in each trial."""
    return trial.of_labels(set(np.random.default_rng(trial.number).permutation(LABELS)[: LABELS // 2].tolist()))


def replayed(trial: Trial, _: np.ndarray) -> np.ndarray:
    """Returns training images."""
    train = open_prepared().split("train")
    rows = np.random.default_rng(trial.number).permutation(len(train))[: trial.params.evaluate.n_images]
    return train.gather(np.sort(rows))


def twice_the_margin_worse(trial: Trial, images: np.ndarray) -> np.ndarray:
    """Blends images with their blurred copies until the relative distance is (1 + 2 x margin) times the live one."""
    first, softened = trial.references[0], blur(images).astype(np.float32)

    def blended(share: float) -> np.ndarray:
        mixed: np.ndarray = np.rint((1 - share) * images + share * softened).astype(np.uint8)
        return mixed

    def distance(share: float) -> float:
        return relative_distance(first.evaluator.features(blended(share)), first.real)

    target = (1 + 2 * trial.params.gate.margin.fd_relative) * trial.beside.first.metrics["fd_relative"]
    low, high = 0.0, 1.0
    for _ in range(HALVINGS):
        share = (low + high) / 2
        found = distance(share)
        if abs(found / target - 1) <= WITHIN:
            return blended(share)
        low, high = (share, high) if found < target else (low, share)
    sys.exit(f"error: no blend of the live model's images with their blur has a distance of {target:.3g}")


KINDS: dict[str, Corruption] = {
    "itself": lambda trial, images: images,
    "blur": lambda trial, images: blur(images, 1.0),
    "a class missing": lambda trial, images: trial.of_labels(set(range(LABELS)) - {trial.number % LABELS}),
    "half of the labels": half_of_the_labels,
    "replay": replayed,
    "contrast": lambda trial, images: reduce_contrast(images, 0.7),
    "twice the margin": twice_the_margin_worse,
}
RIGHT: dict[str, tuple[str, ...]] = {  # a reason must name one of these
    "blur": ("fd_relative",),
    "a class missing": ("fd_relative", "coverage", "label_share"),
    "half of the labels": ("fd_relative", "coverage", "label_share"),
    "replay": ("memoris",),
    "contrast": ("fd_relative",),
    "twice the margin": ("fd_relative",),
}
_trial: Trial


def start(live: Path, images: int, resamplings: int) -> None:
    """Prepares a process for trials."""
    global _trial
    limit_threads(1)
    params = load_params()
    evaluate = params.evaluate.model_copy(update={"n_images": images})
    params = params.model_copy(
        update={"evaluate": evaluate, "gate": params.gate.model_copy(update={"bootstrap_samples": resamplings})}
    )
    first, second = (fewer(one, images) for one in load_statistics_of_both(evaluate))
    _trial = Trial(params, (first, second), live)


def fewer(reference: ReferenceStatistics, images: int) -> ReferenceStatistics:
    """Returns the reference with as many test images as a trial has generated ones."""
    real = reference.real
    labels = None if real.test_labels is None else real.test_labels[:images]
    test = real.test[:images]
    less = replace(real, test=test, test_labels=labels, test_moments=Moments.of(test))
    return replace(reference, real=less)


def one_trial(kind: str, number: int) -> GateDecision:
    """Decides on the live model's images from noise `number`, corrupted, against those from other noise."""
    trial = replace(_trial, number=number)
    candidate = KINDS[kind](trial, trial.generate(number, trial.params.evaluate.n_images))
    ours = measured_bundle(candidate, trial.references, trial.params)
    return decide(ours, trial.beside, trial.params.gate, number)


def trials(kind: str, live: Path, given: argparse.Namespace) -> Iterator[Row]:
    """Runs the trials of one kind and yields their rows."""
    with ProcessPoolExecutor(os.cpu_count(), initializer=partial(start, live, given.images, given.resamplings)) as pool:
        decisions = []
        for decision in pool.map(partial(one_trial, kind), range(given.trials)):
            decisions.append(decision)
            if len(decisions) % 10 == 0:
                print(f"{kind}: {len(decisions)} of {given.trials}", flush=True)
    unit = f"of {given.trials}"
    if kind == "itself":
        worse = sum(any(one.verdict == "worse" for one in decision.comparisons.values()) for decision in decisions)
        better = sum(lead(decision) == "better" for decision in decisions)
        yield at_most("itself, refused as worse", worse, given.trials // 20, unit)
        yield at_most("itself, called better", better, given.trials // 20, unit)
        yield Row("    not blessed", sum(not decision.passed for decision in decisions), unit)
    else:
        names = RIGHT[kind]
        right = sum(any(name in reason for reason in one.reasons for name in names) for one in decisions)
        least = given.trials * (0.95 if kind == "twice the margin" else 1)
        yield at_least(f"{kind}, refused for the right reason", right, least, unit)
    found = Counter(cause(reason) for decision in decisions for reason in decision.reasons)
    yield from (Row(f"    {name}", count, unit) for name, count in found.most_common())


def lead(decision: GateDecision) -> str:
    """Returns the verdict on the deciding metric."""
    return decision.comparisons["fd_relative"].verdict


def cause(reason: str) -> str:
    """Returns a reason without its numbers."""
    return "limit: label_share" if "label_share" in reason else " ".join(reason.split()[:2])
