"""Renders the page and writes it, with the picture for the README beside it."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image, ImageDraw, ImageFont

from tasks.common.files import write_bytes
from tasks.common.image_grid import write_png
from tasks.common.model_names import MODELS
from tasks.metrics.registry import describe, format_metric
from tasks.report import evaluators, gather, tables
from tasks.report.decisions import decisions
from tasks.report.plots import Panel, draw_curves, read_curves
from tasks.report.verdict import LEAD, agreement, leads, protocol_faults, verdict, warnings

REPORT, SAMPLES = Path("report"), Path("data/samples")
GAP, CAPTION = 16, 40  # pixels
PAPER, INK = (255, 255, 255), (40, 40, 40)


def write_report() -> None:
    """Writes report/index.html and report/picture.png about the current state of the project."""
    write_bytes(REPORT / "index.html", render().encode())
    write_picture(REPORT / "picture.png")
    print(f"report: {REPORT / 'index.html'}", flush=True)


def render() -> str:
    """Returns the page as one self-contained HTML text."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        undefined=StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"flat": lambda value: list(gather.flat(value)), "metric": format_metric}
    evaluations, stages = gather.read_evaluations(), gather.stage_rows()
    return environment.get_template("page.html.j2").render(
        stages=stages,
        decisions=decisions(),
        origins=gather.origins(),
        params=Path("params.yaml").read_text(encoding="utf-8"),
        curves={model: _curves(model) for model in MODELS},
        **_metrics(evaluations, stages),
        **_evaluators(evaluations),
        **_pictures(),
        **gather.read_data(),
    )


def _metrics(evaluations: dict[str, Any], stages: list[dict[str, Any]]) -> dict[str, Any]:
    comparable = not protocol_faults(evaluations)
    return {
        "verdict": verdict(evaluations, comparable),
        "lead": describe(LEAD),
        "warnings": warnings(evaluations, evaluators.read_evaluators(), stages),
        "agreement": agreement(evaluations),
        "metrics": tables.metric_rows(evaluations, comparable),
        "second_metrics": tables.second_rows(evaluations, comparable),
        "labels": tables.label_rows(evaluations),
        "protocols": {model: one["protocol"] for model, one in evaluations.items()},
    }


def _evaluators(evaluations: dict[str, Any]) -> dict[str, Any]:
    sensitivities, scores = evaluators.read_sensitivities(), leads(evaluations)
    first = sensitivities.get("first")
    equivalents = [evaluators.equivalent(first, model, score) for model, score in scores.items()] if first else []
    return {
        "evaluator_facts": evaluators.fact_rows(evaluators.read_evaluators()),
        "sensitivity": evaluators.sensitivity_panels(sensitivities, scores),
        "equivalents": [sentence for sentence in equivalents if sentence],
        "missing": evaluators.missing_rows(sensitivities),
        "missing_evaluators": [name for name, one in sensitivities.items() if one.without],
    }


def _pictures() -> dict[str, Any]:
    per_model = {
        name: gather.embedded({model.upper(): SAMPLES / model / f"{name}.png" for model in MODELS})
        for name in ("nearest", "worst", "reconstructions")
    }
    return {"panels": gather.embedded(_panels()), **per_model}


def _curves(model: str) -> list[Panel]:
    path = Path("data/curves") / f"{model}.csv"
    return draw_curves(read_curves(path), salt=model) if path.is_file() else []


def _panels() -> dict[str, Path]:
    """Returns the sample grids that exist by caption, in the order real, GAN, VAE."""
    real = next((path for model in MODELS if (path := SAMPLES / model / "real.png").is_file()), SAMPLES / "real.png")
    grids = {"real": real, **{model.upper(): SAMPLES / model / "grid.png" for model in MODELS}}
    return {caption: path for caption, path in grids.items() if path.is_file()}


def write_picture(path: Path) -> None:
    """Replaces `path` by the sample grids side by side with captions; writes nothing where there is no grid."""
    panels = _panels()
    if not panels:
        return
    grids = [Image.open(file).convert("RGB") for file in panels.values()]
    width, height = sum(grid.width + GAP for grid in grids) - GAP, max(grid.height for grid in grids)
    sheet = Image.new("RGB", (width, height + CAPTION), PAPER)
    pen, font, left = ImageDraw.Draw(sheet), ImageFont.load_default(size=22), 0
    for caption, grid in zip(panels, grids, strict=True):
        sheet.paste(grid, (left, 0))
        pen.text((left + grid.width / 2, height + CAPTION / 2), caption, fill=INK, font=font, anchor="mm")
        left += grid.width + GAP
    write_png(path, sheet)
