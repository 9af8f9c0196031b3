"""Puts the page together and writes it, with the picture for the README beside it."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from tasks.common.files import write_bytes
from tasks.common.model_names import MODELS
from tasks.report import evaluators, gather, tables
from tasks.report.curves import draw_curves, read_curves
from tasks.report.decisions import decisions
from tasks.report.embed import embedded
from tasks.report.picture import SAMPLES, panels, write_picture
from tasks.report.plots import Panel
from tasks.report.verdict import agreement, leads, protocol_faults, verdict, warnings

REPORT = Path("report")


def write_report() -> None:
    """Writes report/index.html and report/picture.png from what stands in the project's folder."""
    write_bytes(REPORT / "index.html", render().encode())
    write_picture(REPORT / "picture.png")
    print(f"report: {REPORT / 'index.html'}", flush=True)


def render() -> str:
    """The page as one self-contained HTML text."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        undefined=StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["flat"] = lambda value: list(gather.flat(value))
    metrics, stages = gather.read_metrics(), gather.stage_rows()
    return environment.get_template("page.html.j2").render(
        stages=stages,
        decisions=decisions(),
        origins=gather.origins(),
        params=Path("params.yaml").read_text(encoding="utf-8"),
        curves={model: _curves(model) for model in MODELS},
        **_figures(metrics, stages),
        **_evaluators(metrics),
        **_pictures(),
        **gather.read_data(),
    )


def _figures(metrics: dict[str, Any], stages: list[dict[str, Any]]) -> dict[str, Any]:
    comparable = not protocol_faults(metrics)
    return {
        "verdict": verdict(metrics, comparable),
        "warnings": warnings(metrics, evaluators.read_evaluators(), stages),
        "agreement": agreement(metrics),
        "figures": tables.metric_rows(metrics, comparable),
        "second_figures": tables.second_rows(metrics, comparable),
        "classes": tables.class_rows(metrics),
        "protocols": {model: one["protocol"] for model, one in metrics.items()},
    }


def _evaluators(metrics: dict[str, Any]) -> dict[str, Any]:
    seen, scores = evaluators.read_sensitivities(), leads(metrics)
    first = seen.get("first")
    worths = [evaluators.worth(first, model, score) for model, score in scores.items()] if first else []
    return {
        "judge_facts": evaluators.fact_rows(evaluators.read_evaluators()),
        "sensitivity": evaluators.sensitivity_panels(seen, scores),
        "worths": [worth for worth in worths if worth],
        "missing": evaluators.missing_rows(seen),
        "missing_judges": [name for name, one in seen.items() if one.without],
    }


def _pictures() -> dict[str, Any]:
    reconstructions = SAMPLES / "vae/reconstructions.png"
    return {
        "panels": {caption: embedded(path) for caption, path in panels().items()},
        "reconstructions": embedded(reconstructions) if reconstructions.is_file() else None,
        "nearest": _of_models("nearest.png"),
        "worst": _of_models("worst.png"),
    }


def _of_models(name: str) -> dict[str, str]:
    paths = {model.upper(): SAMPLES / model / name for model in MODELS}
    return {model: embedded(path) for model, path in paths.items() if path.is_file()}


def _curves(model: str) -> list[Panel]:
    path = Path("data/curves") / f"{model}.csv"
    return draw_curves(read_curves(path), salt=model) if path.is_file() else []
