"""Puts the page together and writes it, with the picture for the README beside it."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from tasks.files import write_bytes
from tasks.pictures import data_uri
from tasks.report import gather
from tasks.report.curves import draw_curves, read_curves
from tasks.report.picture import SAMPLES, panels, write_picture
from tasks.report.verdict import verdict, warnings

REPORT = Path("report")
PREPARED = Path("data/prepared")


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
    judge = gather.optional_json(Path("data/reference/judge.json"))
    return environment.get_template("page.html.j2").render(
        verdict=verdict(metrics),
        warnings=warnings(metrics, judge, stages),
        figures=gather.figure_rows(metrics),
        classes=gather.class_rows(metrics),
        protocols={model: one["protocol"] for model, one in metrics.items()},
        judge=gather.judge_rows(judge) if judge else None,
        stages=stages,
        origins=gather.origins(),
        params=Path("params.yaml").read_text(encoding="utf-8"),
        **_pictures(),
        **_data(),
    )


def _pictures() -> dict[str, Any]:
    drawn = {model: _curves(model) for model in gather.MODELS}
    reconstructions = SAMPLES / "vae/reconstructions.png"
    nearest = {model: SAMPLES / model / "nearest.png" for model in gather.MODELS}
    return {
        "panels": {caption: data_uri(path) for caption, path in panels().items()},
        "reconstructions": data_uri(reconstructions) if reconstructions.is_file() else None,
        "nearest": {model.upper(): data_uri(path) for model, path in nearest.items() if path.is_file()},
        "curves": {model: svg for model, svg in drawn.items() if svg},
    }


def _curves(model: str) -> Markup | None:
    path = Path("data/curves") / f"{model}.csv"
    curves = read_curves(path) if path.is_file() else {}
    return Markup(draw_curves(curves, salt=model)) if curves else None  # our own SVG, escaped by matplotlib


def _data() -> dict[str, Any]:
    manifest = gather.optional_json(PREPARED / "manifest.json")
    splits = {name: manifest["splits"][name] for name in ("train", "validation", "test")} if manifest else {}
    quarantine = gather.optional_json(PREPARED / "quarantine.json") or []
    return {"manifest": manifest, "splits": splits, "quarantine": quarantine}
