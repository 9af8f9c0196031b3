"""Reads what the stages wrote, for the page. What a stage has not made yet is None or absent, which is no error."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from tasks.common.errors import UserError
from tasks.common.files import read_json, sha256_file
from tasks.common.image_grid import data_uri
from tasks.common.inputs import PIPELINE_FILE, stage_inputs
from tasks.common.model_names import MODELS
from tasks.common.paths import work_folder
from tasks.metrics.registry import format_metric

BUNDLES, EVALUATION, PREPARED = Path("data/bundle"), Path("data/evaluation"), Path("data/prepared")


def optional_json(path: Path) -> Any:
    """Returns a JSON file's value, or None when the file is missing; raises UserError when it is damaged."""
    return read_json(path) if path.is_file() else None


def read_evaluations() -> dict[str, Any]:
    """Returns, by model, what evaluate wrote: metrics, intervals, floors, protocols and labels."""
    files = {model: optional_json(EVALUATION / f"{model}.json") for model in MODELS}
    return {model: one for model, one in files.items() if one and "metrics" in one}  # earlier code wrote `figures`


def read_data() -> dict[str, Any]:
    """Returns what preprocess wrote about the data: manifest, splits with their sizes, and quarantined files."""
    manifest = optional_json(PREPARED / "manifest.json")
    splits = {name: manifest["splits"][name] for name in ("train", "validation", "test")} if manifest else {}
    return {"manifest": manifest, "splits": splits, "quarantine": optional_json(PREPARED / "quarantine.json") or []}


def stage_rows() -> list[dict[str, Any]]:
    """Returns a row for each stage of dvc.yaml: its receipt for the present inputs, or why there is none."""
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
        return {"receipt": None, "why": "no receipt: it has not run with the present inputs in this repository"}
    facts = {name: value for name, value in receipt["facts"].items() if name != "metrics"}  # they have their own table
    return {"receipt": receipt | {"facts": facts}, "why": ""}


def origins() -> dict[str, dict[str, str]]:
    """Returns, by model, the SHA-256 of the bundled .onnx file and of the inputs that its contract names."""
    found: dict[str, dict[str, str]] = {}
    for model in MODELS:
        contract, file = optional_json(BUNDLES / model / "contract.json"), BUNDLES / model / f"{model}.onnx"
        if contract and file.is_file():
            found[model] = {file.name: sha256_file(file)} | contract["models"][file.name]["hashes"]
    return found


def embedded(paths: Mapping[str, Path]) -> dict[str, str]:
    """Returns data URIs of the pictures that exist, by caption; a dozen of them leave the page below 5 MB."""
    return {caption: data_uri(path, 1024, 200_000) for caption, path in paths.items() if path.is_file()}


def flat(value: object, name: str = "") -> Iterator[tuple[str, str]]:
    """Yields names and values of nested JSON as text: `blurred.fd` -> `0.123`, true -> `yes`."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from flat(inner, f"{name}.{key}" if name else str(key))
    elif isinstance(value, bool):
        yield name, "yes" if value else "no"
    elif isinstance(value, float):
        yield name, format_metric(value)
    else:
        yield name, f"{value:,}" if isinstance(value, int) else str(value)
