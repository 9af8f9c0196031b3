"""The page's first lines: which model is better by how much, and every reason to distrust that."""

from collections.abc import Iterator
from typing import Any

from pydantic import ValidationError

from tasks.common.errors import UserError
from tasks.metrics.registry import format_metric
from tasks.reference.protocol import Protocol
from tasks.report.tables import interval, second_of

LEAD = "fd_relative"  # the figure that decides


def verdict(metrics: dict[str, Any], comparable: bool = True) -> str:
    """One sentence that compares the models by relative Fréchet distance, beside what real images score."""
    scores = {model.upper(): score for model, score in leads(metrics).items()}
    if not scores:
        return "Nothing has been judged yet; `make run` trains, exports and judges."
    floors = [one["floor"][LEAD] for one in metrics.values() if LEAD in one["floor"]]
    floor = f", where real images score {format_metric(floors[0])}" if floors else ""
    (best, score), *others = sorted(scores.items(), key=lambda item: item[1])
    if not others:
        return f"The {best} has a relative Fréchet distance of {format_metric(score)} to the test images{floor}."
    other, worse = others[0]
    if not comparable:
        return f"The {best} and the {other} cannot be compared: they were judged by different protocols."
    return (
        f"The {best} is closer to the test images than the {other}: "
        f"relative Fréchet distance {format_metric(score)} against {format_metric(worse)}{floor}."
    )


def leads(metrics: dict[str, Any]) -> dict[str, float]:
    """The figure that decides, by model."""
    return {model: one["figures"][LEAD] for model, one in metrics.items() if LEAD in one["figures"]}


def protocol_faults(metrics: dict[str, Any]) -> list[str]:
    """Why the models cannot be compared, by the first or the second judge; nothing where they can or there is one."""
    second = [f"By the second judge: {fault}" for fault in _faults(second_of(metrics))]
    return [*_faults(metrics), *second]


def _faults(metrics: dict[str, Any]) -> Iterator[str]:
    protocols = []
    for model, one in metrics.items():
        try:
            protocols.append(Protocol.model_validate(one["protocol"]))
        except ValidationError:
            yield f"The {model.upper()} was judged by an older protocol; run evaluate_{model} again to compare it."
    try:
        for other in protocols[1:]:
            protocols[0].require(other)
    except UserError as error:
        yield f"The models were judged by different protocols: {error}."


def agreement(metrics: dict[str, Any]) -> str:
    """Whether the two judges rank the models alike, in a sentence; empty where there are not four scores."""
    first, second = leads(metrics), leads(second_of(metrics))
    if len(first) < 2 or len(second) < 2:
        return ""
    ours, theirs = min(first, key=first.__getitem__).upper(), min(second, key=second.__getitem__).upper()
    if ours == theirs:
        return f"Both judges find the {ours} closer to the test images."
    return f"The judges disagree: the first finds the {ours} closer to the test images, the second the {theirs}."


def warnings(metrics: dict[str, Any], evaluators: dict[str, Any], stages: list[dict[str, Any]]) -> list[str]:
    """Reasons to distrust the figures: another protocol, a judge that fails a check, what a receipt warns of."""
    agreed = agreement(metrics)
    return [
        *protocol_faults(metrics),
        *_failing(evaluators),
        *([agreed] if agreed.startswith("The judges disagree") else []),
        *_overlap(metrics),
        *_repeating(metrics),
        *_receipts(stages),
    ]


def _failing(evaluators: dict[str, Any]) -> Iterator[str]:
    if evaluators["first"] and not evaluators["first"]["counts"]:
        yield "The judge fails its own checks (see below), so its figures prove nothing."
    if evaluators["second"] and not evaluators["second"]["counts"]:
        yield "The second judge fails its own checks (see below), so whether it agrees proves nothing."


def _overlap(metrics: dict[str, Any]) -> Iterator[str]:
    ends = [found for one in metrics.values() if (found := interval(one, LEAD))]
    if len(ends) > 1 and max(low for low, _ in ends) <= min(high for _, high in ends):
        yield "The intervals of the models' relative Fréchet distances overlap: which one is closer may be chance."


def _repeating(metrics: dict[str, Any]) -> Iterator[str]:
    for model, one in metrics.items():
        if one.get("memorises"):
            share = f"{one['figures']['memorised']:.0%}"
            yield (
                f"The {model.upper()} repeats training images: {share} of its images come nearer to one than all but "
                "1 % of unseen images do."
            )


def _receipts(stages: list[dict[str, Any]]) -> Iterator[str]:
    for stage in stages:
        facts = (stage["receipt"] or {}).get("facts", {})
        if "warning" in facts:
            yield f"{stage['name']}: {facts['warning']}."
