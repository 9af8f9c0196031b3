"""Release notes in Markdown: what a release replaces, what changed in figures, who let it, and pictures."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tasks.gate.record import GateDecision
from tasks.metrics.registry import describe, format_metric, ordered
from tasks.release.lineage.history import History

NOTES = "RELEASE.md"
PICTURES = {"candidate.png": "This release", "live.png": "What it replaces, from the same noise"}


def release_notes(lineage: Mapping[str, Any], gate: GateDecision | None, pictures: list[str]) -> str:
    """The notes of a release whose figures lie in data/metrics of the current folder; `gate` None: it was not asked."""
    model, parent = lineage["model"], lineage["parent"]
    parts = [f"# {model}@{lineage['version']}", _word(gate, parent)]
    now = json.loads(_text(Path("data/metrics") / f"{model}.json"))
    before = History(Path()).show(parent["commit"], f"data/metrics/{model}.json") if parent else None
    if now:
        parts.append(_table(now, json.loads(before or b"{}"), parent["version"] if parent else "before"))
    parts.append(f"Made of commit {lineage['commit']}" + (f" by the run {lineage['run']}." if lineage["run"] else "."))
    parts += [f"{PICTURES[name]}:\n\n![{PICTURES[name]}]({name})" for name in pictures]
    return "\n\n".join(parts) + "\n"


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else "{}"


def _word(gate: GateDecision | None, parent: Mapping[str, Any] | None) -> str:
    against = f"in the place of {parent['version']}" if parent else "as the first"
    if gate is None:
        return f"Comes {against}; the gate was not asked."
    override, reasons = gate.override, "".join(f"\n- {reason}" for reason in gate.reasons)
    if override:
        return f"Comes {against}: {override.by} let it through, because {override.because}. Against it:{reasons}"
    return f"Comes {against}; the gate's word: {gate.decision}.{reasons}"


def _table(now: Mapping[str, Any], before: Mapping[str, Any], version: str) -> str:
    names = ordered([name for name, value in now.items() if isinstance(value, int | float)])
    head = f"| figure | {version} | now | better |\n| --- | --- | --- | --- |"
    rows = (
        f"| `{name}` | {format_metric(before.get(name))} | {format_metric(now[name])} | {describe(name).better or '-'} |"
        for name in names
    )
    return "\n".join([head, *rows])
