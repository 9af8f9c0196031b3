"""The page's first lines: which model is better and by how much, and every warning about that comparison."""

from collections.abc import Iterator
from typing import Any

from pydantic import ValidationError

from tasks.common.errors import UserError
from tasks.metrics.registry import format_metric
from tasks.reference.protocol import Protocol
from tasks.report.tables import interval, second_of

LEAD = "fd_relative"  # the metric that ranks the models


def verdict(evaluations: dict[str, Any], comparable: bool = True) -> str:
    """Returns one sentence that compares the models by relative Fréchet distance, with the score of real images."""
    scores = {model.upper(): score for model, score in leads(evaluations).items()}
    if not scores:
        return "No model has been evaluated yet; `make run` trains, exports and evaluates both."
    floors = [one["floor"][LEAD] for one in evaluations.values() if LEAD in one["floor"]]
    floor = f"; real training images have {format_metric(floors[0])}" if floors else ""
    (best, score), *others = sorted(scores.items(), key=lambda item: item[1])
    if not others:
        return f"The {best} has a relative Fréchet distance of {format_metric(score)} to the test images{floor}."
    other, worse = others[0]
    if not comparable:
        return f"The {best} and the {other} cannot be compared, because they were evaluated by different protocols."
    return (
        f"The {best} is closer to the test images than the {other}: "
        f"its relative Fréchet distance is {format_metric(score)}, that of the {other} {format_metric(worse)}{floor}."
    )


def leads(evaluations: dict[str, Any]) -> dict[str, float]:
    """Returns the metric that ranks the models, by model."""
    return {model: one["metrics"][LEAD] for model, one in evaluations.items() if LEAD in one["metrics"]}


def protocol_faults(evaluations: dict[str, Any]) -> list[str]:
    """Returns why the models cannot be compared, by the first or the second evaluator."""
    second = [f"By the second evaluator: {fault}" for fault in _faults(second_of(evaluations))]
    return [*_faults(evaluations), *second]


def _faults(evaluations: dict[str, Any]) -> Iterator[str]:
    protocols = []
    for model, one in evaluations.items():
        try:
            protocols.append(Protocol.model_validate(one["protocol"]))
        except ValidationError:
            yield f"The {model.upper()} was evaluated by an older protocol; run evaluate_{model} again to compare it."
    try:
        for other in protocols[1:]:
            protocols[0].require(other)
    except UserError as error:
        yield f"The models were evaluated by different protocols: {error}."


def agreement(evaluations: dict[str, Any]) -> str:
    """Returns a sentence on whether the two evaluators rank the models alike; empty with fewer than four scores."""
    first, second = leads(evaluations), leads(second_of(evaluations))
    if len(first) < 2 or len(second) < 2:
        return ""
    ours, theirs = min(first, key=first.__getitem__).upper(), min(second, key=second.__getitem__).upper()
    if ours == theirs:
        return f"By both evaluators, the {ours} is closer to the test images."
    return f"The evaluators disagree: the {ours} is closer to the test images by the first, the {theirs} by the second."


def warnings(evaluations: dict[str, Any], evaluators: dict[str, Any], stages: list[dict[str, Any]]) -> list[str]:
    """Returns all warnings: protocols, evaluators that fail a check or disagree, chance, memorisation, receipts."""
    agreed = agreement(evaluations)
    return [
        *protocol_faults(evaluations),
        *_failing(evaluators),
        *([agreed] if "disagree" in agreed else []),
        *_overlap(evaluations),
        *_memorising(evaluations),
        *_receipts(stages),
    ]


def _failing(evaluators: dict[str, Any]) -> Iterator[str]:
    for name, one in evaluators.items():
        if one and not one["trusted"]:
            yield f"The {name} evaluator fails its own checks (see below), so its metrics are not reliable."


def _overlap(evaluations: dict[str, Any]) -> Iterator[str]:
    ends = [found for one in evaluations.values() if (found := interval(one, LEAD))]
    if len(ends) > 1 and max(low for low, _ in ends) <= min(high for _, high in ends):
        yield "The intervals of the models' relative Fréchet distances overlap, so the ranking may be due to chance."


def _memorising(evaluations: dict[str, Any]) -> Iterator[str]:
    for model, one in evaluations.items():
        if one.get("memorises"):
            yield (
                f"The {model.upper()} repeats training images: {one['metrics']['memorised']:.0%} of its images are "
                "nearer to a training image than 99 % of unseen images are."
            )


def _receipts(stages: list[dict[str, Any]]) -> Iterator[str]:
    for stage in stages:
        facts = (stage["receipt"] or {}).get("facts", {})
        if "warning" in facts:
            yield f"{stage['name']}: {facts['warning']}."
