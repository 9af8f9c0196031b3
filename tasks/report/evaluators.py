"""The two judges: what they are, whether they pass their own checks, and what they see."""

import csv
import math
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from tasks.metrics.registry import format_metric
from tasks.reference.protocol import REFERENCE, SECOND
from tasks.report import plots
from tasks.report.gather import flat, optional_json
from tasks.report.plots import Line, Panel, Plot, Points, draw

FOLDERS = {"first": REFERENCE, "second": SECOND}
KINDS = {
    "classifier": "to tell labels of the training images apart",
    "selfsupervised": "to tell quarter turns of the training images apart, without labels",
    "random": "nothing: its weights are as they were drawn",
    "inception": "ImageNet's classes, as Inception v3",
    "dinov2": "photographs without labels, as DINOv2",
}
FACTS = {
    "network": "It learnt",
    "accuracy": "Accuracy at that, on test images",
    "checks.held_out": "Relative Fréchet distance of held-out real images",
    "checks.chance": "Of as many training images, by chance",
    "checks.blurred": "Of the held-out images, blurred by a fourteenth of their side",
    "checks.missing_class": "Of the held-out images without one class, the one least missed",
    "counts": "Its figures count",
}
WAYS = {  # of spoiling images: title, what its amount is, and the amount in a sentence
    "background": ("Background lifted", "darkest level of 255", "a background lifted to {} of 255"),
    "blur": ("Blur", "pixels", "a blur of {} pixels"),
    "noise": ("Noise", "standard deviation of 255", "noise of {} of 255"),
    "contrast": ("Less contrast", "contrast that is left", "{} of the contrast"),
}
MISSING = "missing class"


@dataclass(frozen=True)
class Sensitivity:
    """Relative Fréchet distances of real images that were spoilt: by way and amount, and by the label left out."""

    corrupted: dict[str, Points] = field(default_factory=dict)
    without: dict[str, float] = field(default_factory=dict)


def read_evaluators() -> dict[str, Any]:
    """evaluator.json of the first and the second judge, each None where its stage has not run."""
    return {name: optional_json(folder / "evaluator.json") for name, folder in FOLDERS.items()}


def fact_rows(evaluators: dict[str, Any]) -> list[dict[str, Any]]:
    """What the judges were found to be, in words: a row for each fact that either has."""
    facts = {name: dict(flat(evaluator)) if evaluator else {} for name, evaluator in evaluators.items()}
    for one in facts.values():
        if "network" in one:
            one["network"] = KINDS.get(one["network"], one["network"])
    rows = [{"title": title} | {name: one.get(key, "-") for name, one in facts.items()} for key, title in FACTS.items()]
    return [row for row in rows if any(row[name] != "-" for name in facts)]


def read_sensitivities() -> dict[str, Sensitivity]:
    """What either judge makes of spoilt images, where its stage has run."""
    files = {name: folder / "sensitivity.csv" for name, folder in FOLDERS.items()}
    return {name: read_sensitivity(path) for name, path in files.items() if path.is_file()}


def read_sensitivity(path: Path) -> Sensitivity:
    """Reads sensitivity.csv."""
    found = Sensitivity()
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            value = float(row["fd_relative"])
            if row["spoilt_by"] == MISSING:
                found.without[row["amount"]] = value
            else:
                found.corrupted.setdefault(row["spoilt_by"], []).append((float(row["amount"]), value))
    return found


def sensitivity_panels(evaluators: dict[str, Sensitivity], scores: dict[str, float]) -> list[Panel]:
    """A panel for each way of spoiling, with the models' scores by the first judge as levels."""
    ways = list(dict.fromkeys(way for evaluator in evaluators.values() for way in evaluator.corrupted))
    levels = {f"{model.upper()} {format_metric(score)}": score for model, score in scores.items() if score > 0}
    heights = [
        *levels.values(),
        *(y for evaluator in evaluators.values() for line in evaluator.corrupted.values() for _, y in line),
    ]
    span = (0.8 * min((y for y in heights if y > 0), default=0.1), 1.6 * max([*heights, 0.1]))  # alike in all panels
    return [draw(_plot(way, evaluators, levels, span), f"sensitivity {way}") for way in ways]


def _plot(way: str, evaluators: dict[str, Sensitivity], levels: dict[str, float], span: tuple[float, float]) -> Plot:
    title, about, _ = WAYS.get(way, (way, "amount", ""))
    colours = {"first": (plots.FIRST, "o"), "second": (plots.SECOND, "s")}
    lines = [
        Line(f"{name} judge", evaluator.corrupted[way], *colours[name])
        for name, evaluator in evaluators.items()
        if way in evaluator.corrupted
    ]
    return Plot(title, about, lines, levels, log=True, span=span, backwards=way == "contrast")


def missing_rows(evaluators: dict[str, Sensitivity]) -> list[dict[str, Any]]:
    """A row for each label, the one most missed first: what either judge says of real images without it."""
    labels = list(dict.fromkeys(label for evaluator in evaluators.values() for label in evaluator.without))
    most = {name: max(evaluator.without.values(), default=1.0) for name, evaluator in evaluators.items()}
    rows = [
        {"label": label}
        | {name: _bar(evaluator.without.get(label), most[name]) for name, evaluator in evaluators.items()}
        for label in labels
    ]
    leading = next(iter(evaluators), "")
    return sorted(rows, key=lambda row: -row[leading]["share"])


def _bar(value: float | None, most: float) -> dict[str, Any]:
    return {"value": format_metric(value), "share": round(100 * (value or 0) / (most or 1), 1)}


def worth(sensitivity: Sensitivity, model: str, score: float) -> str:
    """How much real images must be spoilt for the same distance, in a sentence; empty where nothing compares."""
    found = {way: amount_for(points, score) for way, points in sensitivity.corrupted.items() if way in WAYS}
    words = [WAYS[way][2].format(f"{amount:.2g}") for way, amount in found.items() if amount is not None]
    if not words:
        return ""
    return (
        f"The {model.upper()}'s distance of {format_metric(score)} is that of real images under {', or '.join(words)}."
    )


def amount_for(points: Points, score: float) -> float | None:
    """The amount at which the distance first rises to `score`, between two amounts by its logarithm."""
    for (before, low), (after, high) in pairwise(points):
        if 0 < low < score <= high:
            return before + (after - before) * math.log(score / low) / math.log(high / low)
    return None
