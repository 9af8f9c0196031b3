"""Trials of the gate: the live model's own images of other noise, as they are and spoilt, beside its images.

Each has noise of its own on either side. A live model whose few draws stood beside many candidates would let one lucky
draw count many times.
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
from tasks.evaluate.sampling import Sampling
from tasks.evaluate.scores import among, memorised, rarest_label, relative_distance
from tasks.export.session import session
from tasks.gate.bundles import LoadedBundle, View
from tasks.gate.decision import Decision, decide
from tasks.metrics.frechet import Moments
from tasks.preprocess.dataset import open_prepared
from tasks.reference.corruptions import blur, fade
from tasks.reference.statistics import ReferenceStatistics, load_statistics_of_both

LABELS = 10
LIVE_SEED = 1_000_000  # from which on the noise of the live model in trials is numbered
WITHIN, HALVINGS = 0.02, 30  # of a distance that is aimed at, and of where it is looked for


def seen_as(
    images: np.ndarray, references: tuple[ReferenceStatistics, ReferenceStatistics], params: Params
) -> LoadedBundle:
    """Images uint8 as both judges see them, with the figures that a decision needs."""
    first, second = (seen_by(one, images, params) for one in references)
    near, real = memorised(first.features, references[0].real), references[0].real
    rarest = rarest_label(references[0].evaluator, first.features, real)
    assert rarest is not None
    first.figures.update({"memorised": near.share, "label_share": rarest[1]})
    return LoadedBundle(Path("bench"), "gan", "", first, second, near, f"label {rarest[0]}", images[:1])


def seen_by(reference: ReferenceStatistics, images: np.ndarray, params: Params) -> View:
    """As `tasks.gate.bundles.view` has it, without what no decision rests on."""
    features = reference.evaluator.features(images)
    members = among(features, reference.real, params.evaluate)
    figures = {
        "fd_relative": relative_distance(features, reference.real),
        "precision": float(members.precise.mean()),
        "coverage": float(members.covered.mean()),
    }
    return View(reference, features, figures, members)


Corruption = Callable[["Trial", np.ndarray], np.ndarray]  # images uint8 [n, C, H, W] to images


@dataclass
class Trial:
    """What a process needs for its trials; one per process."""

    params: Params
    references: tuple[ReferenceStatistics, ReferenceStatistics]
    live: Path
    number: int = 0

    def drawn(self, seed: int, count: int) -> np.ndarray:
        """So many of the live model's images."""
        settings = self.params.evaluate.model_copy(update={"seed": seed, "n_images": count})
        return Sampling(session(self.live, 1), settings, [])(np.arange(count))

    @cached_property
    def beside(self) -> LoadedBundle:
        """The live model's images of other noise."""
        images = self.drawn(LIVE_SEED + self.number, self.params.evaluate.n_images)
        return seen_as(images, self.references, self.params)

    def of_labels(self, kept: set[int]) -> np.ndarray:
        """Images that the first judge sees one of these labels in."""
        count, evaluator, found = self.params.evaluate.n_images, self.references[0].evaluator, list[np.ndarray]()
        for part in range(100):
            images = self.drawn(10_000 + 100 * self.number + part, count)
            labels = evaluator.labels(evaluator.features(images))
            assert labels is not None
            found.append(images[np.isin(labels, list(kept))])
            if sum(map(len, found)) >= count:
                return np.concatenate(found)[:count]
        sys.exit(f"error: the live model draws too few images of the labels {sorted(kept)}")


def half_of_the_labels(trial: Trial, _: np.ndarray) -> np.ndarray:
    """Five labels of ten, others each time."""
    return trial.of_labels(set(np.random.default_rng(trial.number).permutation(LABELS)[: LABELS // 2].tolist()))


def replayed(trial: Trial, _: np.ndarray) -> np.ndarray:
    """Training images."""
    train = open_prepared().split("train")
    rows = np.random.default_rng(trial.number).permutation(len(train))[: trial.params.evaluate.n_images]
    return train.gather(np.sort(rows))


def twice_the_margin_worse(trial: Trial, images: np.ndarray) -> np.ndarray:
    """Blended with their blur so far that the relative distance is 1 + 2 x margin times what it is."""
    first, softened = trial.references[0], blur(images).astype(np.float32)

    def blended(share: float) -> np.ndarray:
        mixed: np.ndarray = np.rint((1 - share) * images + share * softened).astype(np.uint8)
        return mixed

    def distance(share: float) -> float:
        return relative_distance(first.evaluator.features(blended(share)), first.real)

    aim = (1 + 2 * trial.params.gate.margin.fd_relative) * trial.beside.first.figures["fd_relative"]
    low, high = 0.0, 1.0
    for _ in range(HALVINGS):
        share = (low + high) / 2
        found = distance(share)
        if abs(found / aim - 1) <= WITHIN:
            return blended(share)
        low, high = (share, high) if found < aim else (low, share)
    sys.exit(f"error: no blend of the live model's images with their blur has a distance of {aim:.3g}")


KINDS: dict[str, Corruption] = {
    "itself": lambda trial, images: images,
    "blur": lambda trial, images: blur(images, 1.0),
    "a class missing": lambda trial, images: trial.of_labels(set(range(LABELS)) - {trial.number % LABELS}),
    "half of the labels": half_of_the_labels,
    "replay": replayed,
    "contrast": lambda trial, images: fade(images, 0.7),
    "twice the margin": twice_the_margin_worse,
}
RIGHT: dict[str, tuple[str, ...]] = {  # what a reason must name, any of them
    "blur": ("fd_relative",),
    "a class missing": ("fd_relative", "coverage", "label_share"),
    "half of the labels": ("fd_relative", "coverage", "label_share"),
    "replay": ("memoris",),
    "contrast": ("fd_relative",),
    "twice the margin": ("fd_relative",),
}
_trial: Trial


def start(live: Path, images: int, draws: int) -> None:
    """Makes a process ready for trials."""
    global _trial
    limit_threads(1)
    params = load_params()
    evaluate = params.evaluate.model_copy(update={"n_images": images})
    params = params.model_copy(
        update={"evaluate": evaluate, "gate": params.gate.model_copy(update={"bootstrap_samples": draws})}
    )
    first, second = (fewer(one, images) for one in load_statistics_of_both(evaluate))
    _trial = Trial(params, (first, second), live)


def fewer(reference: ReferenceStatistics, images: int) -> ReferenceStatistics:
    """The same with as many test images as a trial has generated ones."""
    real = reference.real
    labels = None if real.test_labels is None else real.test_labels[:images]
    test = real.test[:images]
    less = replace(real, test=test, test_labels=labels, test_moments=Moments.of(test))
    return replace(reference, real=less)


def one_trial(kind: str, number: int) -> Decision:
    """The decision about the live model's images of noise `number`, spoilt, against those of other noise."""
    trial = replace(_trial, number=number)
    candidate = KINDS[kind](trial, trial.drawn(number, trial.params.evaluate.n_images))
    ours = seen_as(candidate, trial.references, trial.params)
    return decide(ours, trial.beside, trial.params.gate, number)


def trials(kind: str, live: Path, given: argparse.Namespace) -> Iterator[Row]:
    """The rows of one kind."""
    with ProcessPoolExecutor(os.cpu_count(), initializer=partial(start, live, given.images, given.draws)) as pool:
        decisions = []
        for decision in pool.map(partial(one_trial, kind), range(given.trials)):
            decisions.append(decision)
            if len(decisions) % 10 == 0:
                print(f"{kind}: {len(decisions)} of {given.trials}", flush=True)
    unit = f"of {given.trials}"
    if kind == "itself":
        worse = sum(any(one.verdict == "worse" for one in decision.comparisons) for decision in decisions)
        better = sum(lead(decision) == "better" for decision in decisions)
        yield at_most("itself, refused as worse", worse, given.trials // 20, unit)
        yield at_most("itself, called better", better, given.trials // 20, unit)
        yield Row("    not blessed", sum(not decision.blessed for decision in decisions), unit)
    else:
        names = RIGHT[kind]
        right = sum(any(name in reason for reason in one.reasons for name in names) for one in decisions)
        least = given.trials * (0.95 if kind == "twice the margin" else 1)
        yield at_least(f"{kind}, refused for the right reason", right, least, unit)
    found = Counter(cause(reason) for decision in decisions for reason in decision.reasons)
    yield from (Row(f"    {name}", count, unit) for name, count in found.most_common())


def lead(decision: Decision) -> str:
    """The verdict on the figure that decides."""
    return next(one.verdict for one in decision.comparisons if one.figure == "fd_relative")


def cause(reason: str) -> str:
    """A reason without its numbers."""
    return "limit: label_share" if "label_share" in reason else " ".join(reason.split()[:2])
