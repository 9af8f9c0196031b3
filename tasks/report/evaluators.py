"""The two evaluators: their training, the result of their own checks, and their sensitivity to corrupted images."""

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
TRAININGS = {
    "classifier": "to classify the labels of the training images",
    "selfsupervised": "to recognise rotations of the training images by quarter turns (self-supervised)",
    "random": "not at all: its weights are random",
    "inception": "to classify ImageNet (Inception v3)",
    "dinov2": "on photographs without labels (DINOv2)",
}
FACTS = {
    "network": "The network was trained",
    "accuracy": "Accuracy at that task on the test images",
    "checks.held_out": "Distance of the test images to the training images",
    "checks.chance": "Distance of as many random training images, for comparison",
    "checks.blurred": "Distance of the test images, blurred by a fourteenth of their side",
    "checks.missing_class": "Distance of the test images without one class (smallest over the classes)",
    "trusted": "The evaluator passes its checks",
}
CORRUPTIONS = {  # title, unit of the amount, and the amount in a sentence
    "background": ("Raised background", "darkest level, of 255", "a background raised to {} of 255"),
    "blur": ("Blur", "standard deviation in pixels", "a blur of {} pixels"),
    "noise": ("Noise", "standard deviation, of 255", "noise with a standard deviation of {} of 255"),
    "contrast": ("Less contrast", "remaining contrast", "a reduction of the contrast to {}"),
}
MISSING = "missing class"


@dataclass(frozen=True)
class Sensitivity:
    """Relative Fréchet distances of corrupted real images, by corruption and amount, and without each label."""

    corrupted: dict[str, Points] = field(default_factory=dict)
    without: dict[str, float] = field(default_factory=dict)


def read_evaluators() -> dict[str, Any]:
    """Returns evaluator.json of the first and the second evaluator, each None where its stage has not run."""
    return {name: optional_json(folder / "evaluator.json") for name, folder in FOLDERS.items()}


def fact_rows(evaluators: dict[str, Any]) -> list[dict[str, Any]]:
    """Returns a row for each fact in evaluator.json of either evaluator."""
    facts = {name: dict(flat(evaluator)) if evaluator else {} for name, evaluator in evaluators.items()}
    for one in facts.values():
        if "network" in one:
            one["network"] = TRAININGS.get(one["network"], one["network"])
    rows = [{"title": title} | {name: one.get(key, "-") for name, one in facts.items()} for key, title in FACTS.items()]
    return [row for row in rows if any(row[name] != "-" for name in facts)]


def read_sensitivities() -> dict[str, Sensitivity]:
    """Reads sensitivity.csv of each evaluator whose stage has run."""
    files = {name: folder / "sensitivity.csv" for name, folder in FOLDERS.items()}
    return {name: _read_sensitivity(path) for name, path in files.items() if path.is_file()}


def _read_sensitivity(path: Path) -> Sensitivity:
    found = Sensitivity()
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            distance = float(row["fd_relative"])
            if row["corrupted_by"] == MISSING:
                found.without[row["amount"]] = distance
            else:
                found.corrupted.setdefault(row["corrupted_by"], []).append((float(row["amount"]), distance))
    return found


def sensitivity_panels(evaluators: dict[str, Sensitivity], scores: dict[str, float]) -> list[Panel]:
    """Renders a panel for each corruption, with the models' scores by the first evaluator as levels."""
    corruptions = list(dict.fromkeys(name for evaluator in evaluators.values() for name in evaluator.corrupted))
    levels = {f"{model.upper()} {format_metric(score)}": score for model, score in scores.items() if score > 0}
    lines = [line for evaluator in evaluators.values() for line in evaluator.corrupted.values()]
    heights = [*levels.values(), *(y for line in lines for _, y in line)]
    # All panels have the same range.
    span = (0.8 * min((y for y in heights if y > 0), default=0.1), 1.6 * max([*heights, 0.1]))
    return [draw(_plot(name, evaluators, levels, span), f"sensitivity {name}") for name in corruptions]


def _plot(
    corruption: str, evaluators: dict[str, Sensitivity], levels: dict[str, float], span: tuple[float, float]
) -> Plot:
    title, x_label, _ = CORRUPTIONS.get(corruption, (corruption, "amount", ""))
    colours = {"first": (plots.FIRST, "o"), "second": (plots.SECOND, "s")}
    lines = [
        Line(f"{name} evaluator", evaluator.corrupted[corruption], *colours[name])
        for name, evaluator in evaluators.items()
        if corruption in evaluator.corrupted
    ]
    return Plot(title, x_label, lines, levels, log=True, span=span, backwards=corruption == "contrast")


def missing_rows(evaluators: dict[str, Sensitivity]) -> list[dict[str, Any]]:
    """Returns a row for each label, with the distance of the real images without it; the largest comes first."""
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


def equivalent(sensitivity: Sensitivity, model: str, score: float) -> str:
    """Returns a sentence with the amounts of corruption that give real images a model's distance, or an empty text."""
    amounts = {name: amount_for(sensitivity.corrupted.get(name, []), score) for name in CORRUPTIONS}
    texts = [CORRUPTIONS[name][2].format(f"{amount:.2g}") for name, amount in amounts.items() if amount is not None]
    if not texts:
        return ""
    return f"Real images have the {model.upper()}'s distance of {format_metric(score)} after {', or '.join(texts)}."


def amount_for(points: Points, score: float) -> float | None:
    """Returns the amount where the distance first rises to `score`, interpolated by the distance's logarithm."""
    for (before, low), (after, high) in pairwise(points):
        if 0 < low < score <= high:
            return before + (after - before) * math.log(score / low) / math.log(high / low)
    return None
