"""The tables of figures: a row for each figure or label, a value for each model, and how sure it is."""

from collections.abc import Callable
from typing import Any

from tasks.common.model_names import MODELS
from tasks.metrics.registry import describe, format_metric, ordered

BEST: dict[str, Callable[..., Any] | None] = {"lower": min, "higher": max, "": None}  # by what is better of a figure
COMPACT = ("fd_relative", "precision", "recall", "density", "coverage", "vendi")  # enough to see whether judges agree


def metric_rows(metrics: dict[str, Any], comparable: bool = True) -> list[dict[str, Any]]:
    """A row for each figure of any model: values with their intervals, the floor, what it means, and which is better.

    Of models that are not `comparable`, none is better.
    """
    names = ordered(list({name for one in metrics.values() for name in one["figures"]}))
    return [_metric_row(name, metrics, comparable) for name in names]


def second_rows(metrics: dict[str, Any], comparable: bool = True) -> list[dict[str, Any]]:
    """The same of the few figures by the second judge that say whether it agrees."""
    rows = metric_rows(second_of(metrics), comparable)
    return [row for row in rows if row["name"] in COMPACT]


def second_of(metrics: dict[str, Any]) -> dict[str, Any]:
    """What the second judge said, by model; older metrics files lack it."""
    return {model: one["second"] for model, one in metrics.items() if one.get("second")}


def _metric_row(name: str, metrics: dict[str, Any], comparable: bool) -> dict[str, Any]:
    figure = describe(name)
    values = {model: one["figures"][name] for model, one in metrics.items() if name in one["figures"]}
    floors = [one["floor"][name] for one in metrics.values() if name in one["floor"]]
    best = BEST[figure.better] if comparable else None
    return {
        "name": name,
        "title": figure.title,
        "meaning": figure.meaning,
        "better": figure.better,
        "values": {model: _cell(name, metrics.get(model, {})) for model in MODELS},
        "floor": format_metric(floors[0] if floors else None),
        "winner": best(values, key=lambda model: values[model]) if best and len(set(values.values())) > 1 else "",
    }


def _cell(name: str, one: dict[str, Any]) -> dict[str, str]:
    ends = interval(one, name)
    return {
        "value": format_metric(one.get("figures", {}).get(name)),
        "interval": f"{format_metric(ends[0])} to {format_metric(ends[1])}" if ends else "",
    }


def interval(one: dict[str, Any], name: str) -> tuple[float, float] | None:
    """The ends of a figure's interval; None where it has none."""
    ends = one.get("intervals", {}).get(name)
    return (ends[0], ends[1]) if ends else None


def class_rows(metrics: dict[str, Any]) -> list[dict[str, Any]]:
    """A row for each label that any model was judged by: its share of real images, and each model's share and score."""
    by_model = {model: one.get("classes", {}) for model, one in metrics.items()}
    names = list(dict.fromkeys(name for classes in by_model.values() for name in classes))
    return [_class_row(name, {model: classes.get(name, {}) for model, classes in by_model.items()}) for name in names]


def _class_row(name: str, figures: dict[str, dict[str, float]]) -> dict[str, Any]:
    real = next((one["share_real"] for one in figures.values() if "share_real" in one), None)
    values = {
        model: {key: format_metric(figures.get(model, {}).get(key)) for key in ("share", "fd_relative")}
        for model in MODELS
    }
    return {"name": name, "real": format_metric(real), "values": values}
