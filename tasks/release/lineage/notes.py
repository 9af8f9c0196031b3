"""Release notes in Markdown: what a release replaces, the gate's decision, the metrics, and pictures."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tasks.gate.record import GateDecision
from tasks.metrics.registry import describe, format_metric, ordered
from tasks.release.lineage.history import History

NOTES = "RELEASE.md"
PICTURES = {"candidate.png": "This release", "live.png": "The release that it replaces, from the same noise"}


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
