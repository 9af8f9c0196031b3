"""The summary that a run prints at its end."""

import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

REPORT = Path("report/index.html")
REPORT_COMMAND = ("python", "-m", "tasks.report")  # writes REPORT
RECORD = ("params.yaml", "dvc.lock", "data/raw.dvc", "data/metrics", "data/curves")  # what git keeps of a run


def results_text(root: Path) -> str:
    """Returns the metrics, the paths of report and bundles, and how to keep or undo the run's changes in git."""
    metrics = read_metrics(root)
    table = [("", *metrics)]
    table += [(row["metric"], *(_text(row[model]) for model in metrics)) for row in metrics_rows(metrics)]
    paths = [path for path in [root / REPORT, *sorted((root / "data/bundle").glob("*/"))] if path.exists()]
    parts = [columns(table) if metrics else "", "\n".join(map(str, paths)), _changes_text(root)]
    return "\n\n".join(part for part in parts if part)


def read_metrics(root: Path) -> dict[str, dict[str, Any]]:
    """Returns the metrics by the first evaluator from data/metrics/MODEL.json, by model."""
    files = sorted((root / "data/metrics").glob("*.json"))
    read = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in files}
    return {model: {name: value for name, value in one.items() if name != "second"} for model, one in read.items()}


def metrics_rows(metrics: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Returns a row per metric with a column per model, empty where a model does not have the metric."""
    names = dict.fromkeys(name for values in metrics.values() for name in values)
    return [{"metric": name} | {model: values.get(name, "") for model, values in metrics.items()} for name in names]


def _changes_text(root: Path) -> str:
    command = ["git", "status", "--porcelain", "-z", "--", *RECORD]
    git = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    changed = " ".join(sorted(entry[3:].rstrip("/") for entry in git.stdout.split("\0") if entry))
    return changed and (
        f"Changed in git: {changed}. Keep this with `git add {changed} && git commit -m Retrain`, "
        f"or set it aside with `git stash push -u -- {changed} && dvc checkout`."
    )


def _text(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def columns(rows: Sequence[Sequence[str]]) -> str:
    """Returns the rows as lines, with columns as wide as their widest cell."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)
