"""The tables of metrics: a row for each metric or label, with each model's value and its interval."""

from collections.abc import Callable
from typing import Any

from tasks.common.model_names import MODELS
from tasks.metrics.registry import describe, ordered

BEST: dict[str, Callable[..., Any] | None] = {"lower": min, "higher": max, "": None}  # by a metric's better direction
COMPACT = ("fd_relative", "precision", "recall", "density", "coverage", "vendi")  # the metrics by the second evaluator


def metric_rows(evaluations: dict[str, Any], comparable: bool = True) -> list[dict[str, Any]]:
    """Returns a row for each metric: values with intervals, the floor, the meaning, and the better model.

    No model is better where they are not `comparable`.
    """
    names = ordered(list({name for one in evaluations.values() for name in one["metrics"]}))
    return [_metric_row(name, evaluations, comparable) for name in names]


def second_rows(evaluations: dict[str, Any], comparable: bool = True) -> list[dict[str, Any]]:
    """Returns such rows for the COMPACT metrics by the second evaluator."""
    return [row for row in metric_rows(second_of(evaluations), comparable) if row["name"] in COMPACT]


def second_of(evaluations: dict[str, Any]) -> dict[str, Any]:
    """Returns the evaluations by the second evaluator, by model; older files lack them."""
    return {model: one["second"] for model, one in evaluations.items() if one.get("second")}


def _metric_row(name: str, evaluations: dict[str, Any], comparable: bool) -> dict[str, Any]:
    metric = describe(name)
    values = {model: one["metrics"][name] for model, one in evaluations.items() if name in one["metrics"]}
    floors = [one["floor"][name] for one in evaluations.values() if name in one["floor"]]
    best = BEST[metric.better] if comparable else None
    return {
        "name": name,
        "metric": metric,
        "values": {m: {"value": values.get(m), "interval": interval(evaluations.get(m, {}), name)} for m in MODELS},
        "floor": floors[0] if floors else None,
        "winner": best(values, key=lambda model: values[model]) if best and len(set(values.values())) > 1 else "",
    }


def interval(one: dict[str, Any], name: str) -> tuple[float, float] | None:
    """Returns the ends of a metric's interval, or None where it has none."""
    ends = one.get("intervals", {}).get(name)
    return (ends[0], ends[1]) if ends else None


def label_rows(evaluations: dict[str, Any]) -> list[dict[str, Any]]:
    """Returns a row for each label: its share of the real images, and each model's share and distance."""
    by_model: dict[str, Any] = {model: evaluations.get(model, {}).get("classes", {}) for model in MODELS}
    names = list(dict.fromkeys(name for labels in by_model.values() for name in labels))
    return [_label_row(name, {model: labels.get(name, {}) for model, labels in by_model.items()}) for name in names]


def _label_row(name: str, values: dict[str, dict[str, float]]) -> dict[str, Any]:
    real = next((one["share_real"] for one in values.values() if "share_real" in one), None)
    keys = ("share", "fd_relative")
    return {"name": name, "real": real, "values": {m: {key: one.get(key) for key in keys} for m, one in values.items()}}
