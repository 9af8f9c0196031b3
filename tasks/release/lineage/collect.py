"""lineage.json and RELEASE.md: what the content of a release does not show, such as commit, time and machines.

lineage.json is written when a bundle is released, outside of the outputs of stages, and names the files by hash.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tasks.common.errors import UserError
from tasks.common.files import md5_file, read_json, sha256_file
from tasks.common.inputs import stage_inputs
from tasks.common.paths import work_folder
from tasks.gate.record import GateDecision, GateRecord
from tasks.metrics.registry import describe, format_metric, ordered
from tasks.release.lineage.history import History
from tasks.release.lineage.locks import DVC_LOCK, data_hashes, makers

LINEAGE, NOTES = "lineage.json", "RELEASE.md"
PICTURES = {"candidate.png": "This release", "live.png": "The release that it replaces, from the same noise"}
KEPT = ("began", "seconds", "peak_mib", "machine", "facts")  # keys of a stage's receipt


@dataclass(frozen=True)
class ReleaseRequest:
    """A release to make: model, version, the version that it replaces, the run, and the gate's record or None."""

    model: str
    version: str
    parent: str | None = None
    run: str | None = None
    decision: GateRecord | None = None


def record_path(model: str) -> str:
    """Returns the path of a model's lineage in the commit that the release's tag names."""
    return f"data/release/{model}.json"


def collect(request: ReleaseRequest) -> dict[str, Any]:
    """Returns the lineage of data/bundle/MODEL in the current folder, whose last commit has the results.

    Raises UserError where dvc.lock does not name that bundle.
    """
    history, output = History(Path()), f"data/bundle/{request.model}"
    stages = history.stages("HEAD")
    names = makers(stages, output)
    if not names:
        raise UserError(f"the last commit's {DVC_LOCK} has no {output}; commit the results of a run first")
    # The contract names these by SHA-256, and dvc.lock by MD5.
    inputs = (Path("data/prepared/manifest.json"), Path(f"data/weights/{request.model}/weights.safetensors"))
    return {
        "format": 1,
        "model": request.model,
        "version": request.version,
        "released": datetime.now(UTC).isoformat(timespec="seconds"),
        "run": request.run,
        "commit": history.commit("HEAD"),
        "parent": _parent(history, request),
        "files": {path.name: _hashes(path) for path in sorted(Path(output).iterdir())},
        "inputs": {path.as_posix(): _hashes(path) for path in inputs if path.is_file()},
        "dvc": data_hashes(stages, names),
        "stages": {name: _receipt(name) for name in names},
        "gate": request.decision.quoted().model_dump(mode="json") if request.decision else None,
    }


def _hashes(path: Path) -> dict[str, str]:
    return {"sha256": sha256_file(path), "md5": md5_file(path)}


def _parent(history: History, request: ReleaseRequest) -> dict[str, Any] | None:
    """Returns the release that this one replaces, with the hash of its model where it has a lineage."""
    if request.parent is None:
        return None
    tag = f"{request.model}@{request.parent}"
    lineage = json.loads(history.show(tag, record_path(request.model)) or b"{}")
    model = lineage.get("files", {}).get(f"{request.model}.onnx", {})
    return {"version": request.parent, "commit": history.commit(tag), "sha256": model.get("sha256")}


def _receipt(stage: str) -> dict[str, Any] | None:
    """Returns where a stage ran and for how long; None where another machine ran it, or code without receipts."""
    file = work_folder() / "receipts" / stage / f"{stage_inputs(stage).key}.json"
    return {key: value for key, value in read_json(file).items() if key in KEPT} if file.is_file() else None


def release_notes(lineage: Mapping[str, Any], gate: GateDecision | None, pictures: list[str]) -> str:
    """Returns the notes of a release with the metrics in data/metrics; `gate` is None where it was not asked."""
    model, parent = lineage["model"], lineage["parent"]
    parts = [f"# {model}@{lineage['version']}", _decision(gate, parent)]
    file = Path(f"data/metrics/{model}.json")
    if now := json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}:
        before = History(Path()).show(parent["commit"], file.as_posix()) if parent else None
        parts.append(_table(now, json.loads(before or b"{}"), parent["version"] if parent else "before"))
    run = f" by the run {lineage['run']}" if lineage["run"] else ""
    parts.append(f"Made from commit {lineage['commit']}{run}.")
    parts += [f"{PICTURES[name]}:\n\n![{PICTURES[name]}]({name})" for name in pictures]
    return "\n\n".join(parts) + "\n"


def _decision(gate: GateDecision | None, parent: Mapping[str, Any] | None) -> str:
    place = f"Replaces {parent['version']}" if parent else "The first release"
    if gate is None:
        return f"{place}; the gate was not asked."
    override, reasons = gate.override, "".join(f"\n- {reason}" for reason in gate.reasons)
    if override:
        return f"{place}; {override.by} overrode the refusal, because {override.because}. The gate's reasons:{reasons}"
    return f"{place}; the gate's decision: {gate.decision}.{reasons}"


def _table(now: Mapping[str, Any], before: Mapping[str, Any], version: str) -> str:
    names = ordered([name for name, value in now.items() if isinstance(value, int | float)])
    head = f"| metric | {version} | now | better |\n| --- | --- | --- | --- |"
    values = {name: (format_metric(before.get(name)), format_metric(now[name])) for name in names}
    rows = (f"| `{name}` | {old} | {new} | {describe(name).better or '-'} |" for name, (old, new) in values.items())
    return "\n".join([head, *rows])
