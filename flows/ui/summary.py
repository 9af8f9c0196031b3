"""What a run says at its end."""

import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

REPORT = Path("report/index.html")
REPORT_COMMAND = ("python", "-m", "tasks.report")  # writes REPORT
RECORD = ("params.yaml", "dvc.lock", "data/raw.dvc", "data/metrics", "data/curves")  # what git keeps of a run


def results_text(root: Path) -> str:
    """The figures, where the report and the bundles lie, and how to keep or drop what the run changed in git."""
    figures = read_metrics(root)
    table = [("", *figures)]
    table += [(row["figure"], *(_shown(row[model]) for model in figures)) for row in metrics_rows(figures)]
    places = [path for path in [root / REPORT, *sorted((root / "data/bundle").glob("*/"))] if path.exists()]
    parts = [columns(table) if figures else "", "\n".join(map(str, places)), _record_text(root)]
    return "\n\n".join(part for part in parts if part)


def read_metrics(root: Path) -> dict[str, dict[str, Any]]:
    """The exported files' figures by model, as the first judge sees them: the numbers in data/metrics/MODEL.json."""
    files = sorted((root / "data/metrics").glob("*.json"))
    read = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in files}
    return {model: {name: value for name, value in one.items() if name != "second"} for model, one in read.items()}


def metrics_rows(figures: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A row per figure with a column per model, empty where a model has no such figure."""
    names = dict.fromkeys(name for model in figures.values() for name in model)
    return [{"figure": name} | {model: values.get(name, "") for model, values in figures.items()} for name in names]


def _record_text(root: Path) -> str:
    git = subprocess.run(
        ["git", "status", "--porcelain", "-z", "--", *RECORD], cwd=root, capture_output=True, text=True, check=False
    )
    changed = " ".join(sorted(entry[3:].rstrip("/") for entry in git.stdout.split("\0") if entry))
    return changed and (
        f"Changed in git: {changed}. Keep this with `git add {changed} && git commit -m Retrain`, "
        f"or set it aside with `git stash push -u -- {changed} && dvc checkout`."
    )


def _shown(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def columns(rows: Sequence[Sequence[str]]) -> str:
    """The rows as lines, with columns as wide as their widest cell."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)
