"""What stands there, read for the page; what a stage has not made yet is None or absent, never an error."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from tasks.errors import UserError
from tasks.figures import describe, ordered, shown
from tasks.files import read_json, sha256_file
from tasks.inputs import PIPELINE_FILE, stage_inputs
from tasks.workplace import work_folder

MODELS = ("gan", "vae")
JUDGE = {
    "network": "It learnt to tell apart",
    "accuracy": "Accuracy at that, on test images",
    "checks.held_out": "Relative Fréchet distance of held-out real images",
    "checks.blurred": "Of the same images, blurred by one pixel",
    "checks.missing_class": "Of the same images without one class, the one least missed",
    "counts": "Its figures count",
}


def optional_json(path: Path) -> Any:
    """A JSON file's value, or None when the file is not there; raises UserError when it is damaged."""
    return read_json(path) if path.is_file() else None


def read_metrics() -> dict[str, Any]:
    """The metrics files that exist, by model."""
    files = {model: optional_json(Path("data/metrics") / f"{model}.json") for model in MODELS}
    return {model: metrics for model, metrics in files.items() if metrics}


def figure_rows(metrics: dict[str, Any]) -> list[dict[str, Any]]:
    """A row for each figure of any model: both values, the floor, what it means, and which model is better."""
    names = ordered(list({name for one in metrics.values() for name in one["figures"]}))
    return [_figure_row(name, metrics) for name in names]


def _figure_row(name: str, metrics: dict[str, Any]) -> dict[str, Any]:
    figure = describe(name)
    values = {model: one["figures"][name] for model, one in metrics.items() if name in one["figures"]}
    floors = [one["floor"][name] for one in metrics.values() if name in one["floor"]]
    best = {"lower": min, "higher": max}.get(figure.better)
    winner = best(values, key=lambda model: values[model]) if best and len(values) > 1 else ""
    return {
        "name": name,
        "title": figure.title,
        "meaning": figure.meaning,
        "better": figure.better,
        "values": {model: shown(values.get(model)) for model in MODELS},
        "floor": shown(floors[0] if floors else None),
        "winner": winner,
    }


def class_rows(metrics: dict[str, Any]) -> list[dict[str, Any]]:
    """A row for each label that any model was judged by: its share of real images, and each model's share and score."""
    by_model = {model: one.get("classes", {}) for model, one in metrics.items()}
    names = list(dict.fromkeys(name for classes in by_model.values() for name in classes))
    return [_class_row(name, {model: classes.get(name, {}) for model, classes in by_model.items()}) for name in names]


def _class_row(name: str, figures: dict[str, dict[str, float]]) -> dict[str, Any]:
    real = next((one["share_real"] for one in figures.values() if "share_real" in one), None)
    values = {
        model: {key: shown(figures.get(model, {}).get(key)) for key in ("share", "fd_relative")} for model in MODELS
    }
    return {"name": name, "real": shown(real), "values": values}


def stage_rows() -> list[dict[str, Any]]:
    """A row for each stage of dvc.yaml: its receipt for the present inputs, or why there is none."""
    if not PIPELINE_FILE.is_file():
        raise UserError(f"{PIPELINE_FILE} is missing; run this from the project's folder")
    stages = YAML(typ="safe").load(PIPELINE_FILE.read_text(encoding="utf-8"))["stages"]
    return [{"name": stage} | _receipt(stage) for stage in stages]


def _receipt(stage: str) -> dict[str, Any]:
    try:
        key = stage_inputs(stage).key
    except UserError as error:
        return {"receipt": None, "why": f"not run yet: {error}"}
    receipt = optional_json(work_folder() / "receipts" / stage / f"{key}.json")
    if not receipt:
        return {
            "receipt": None,
            "why": "no receipt for the present inputs: it has not run with them in this repository",
        }
    facts = {name: value for name, value in receipt["facts"].items() if name != "figures"}  # they have their own table
    return {"receipt": receipt | {"facts": facts}, "why": ""}


def origins() -> dict[str, dict[str, str]]:
    """By model, the SHA-256 of the .onnx file that stands there and of what its contract says it was made of."""
    return dict(_origins())


def _origins() -> Iterator[tuple[str, dict[str, str]]]:
    for model in MODELS:
        file = f"{model}.onnx"
        contract = optional_json(Path("data/bundle") / model / "contract.json")
        if contract:
            yield model, {file: sha256_file(Path("data/bundle") / model / file)} | contract["models"][file]["hashes"]


def judge_rows(judge: dict[str, Any]) -> list[tuple[str, str]]:
    """What the judge was found to be, in words."""
    facts = dict(flat(judge))
    return [(title, facts[name]) for name, title in JUDGE.items() if name in facts]


def flat(value: object, name: str = "") -> Iterator[tuple[str, str]]:
    """Names and values of nested JSON, readable: `blurred.fd` -> `0.123`, true -> `yes`."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from flat(inner, f"{name}.{key}" if name else str(key))
    elif isinstance(value, bool):
        yield name, "yes" if value else "no"
    elif isinstance(value, float):
        yield name, shown(value)
    else:
        yield name, f"{value:,}" if isinstance(value, int) else str(value)
