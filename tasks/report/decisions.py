"""The gate's decision about each model, prepared for the page."""

from typing import Any

from tasks.common.files import sha256_file
from tasks.common.model_names import MODELS
from tasks.common.paths import work_folder
from tasks.gate.record import ComparedMetric, GateRecord, Kind, NamedBundle, read_record
from tasks.metrics.registry import describe, ordered
from tasks.report.gather import BUNDLES, embedded

EQUAL: dict[Kind, float] = {"ratio": 1.0, "difference": 0.0}  # a comparison of two equal models
BETTER: dict[Kind, str] = {
    "ratio": "candidate divided by live; below 1 is better",
    "difference": "candidate minus live; above 0 is better",
}
EDGE = 0.06  # share of a strip's width that stays free at each end


def decisions() -> list[dict[str, Any]]:
    """Returns, for each model with a decision: the gate's record, rows of comparisons, and the pictures.

    Raises UserError where a record cannot be read.
    """
    files = {model: work_folder() / "gate" / f"{model}.json" for model in MODELS}
    return [_decision(model, read_record(file)) for model, file in files.items() if file.is_file()]


def _decision(model: str, record: GateRecord) -> dict[str, Any]:
    folder = work_folder() / "gate" / model
    return {
        "record": record,
        "other_file": _other_file(model, record),
        "comparisons": [_comparison(name, record.comparisons[name]) for name in ordered(list(record.comparisons))],
        "pictures": embedded({"Candidate": folder / "candidate.png", "Live": folder / "live.png"}),
    }


def _other_file(model: str, record: GateRecord) -> str:
    """Returns a warning where the decision is about another file than the one in data/bundle, else an empty text."""
    path = BUNDLES / model / f"{model}.onnx"
    if isinstance(record.candidate, NamedBundle):
        return ""
    if not path.is_file():
        return f"{path} does not exist, so this decision is about a file from elsewhere or from an earlier run."
    sha256 = sha256_file(path)
    if sha256 == record.candidate.sha256:
        return ""
    return f"This decision is about another file than the present {path} (SHA-256 {sha256[:12]})."


def _comparison(name: str, one: ComparedMetric) -> dict[str, Any]:
    marks = one.model_dump(include={"estimate", "low", "high", "margin"}) | {"equal": EQUAL[one.kind]}
    title, better = describe(name).title, BETTER[one.kind]
    return {"name": name, "title": title, "better": better, "metric": one, "strip": _strip(marks)}


def _strip(marks: dict[str, float]) -> dict[str, float]:
    """Returns the positions of estimate, interval, margin and equality on a strip, in percent of its width."""
    least, most = min(marks.values()), max(marks.values())
    scale = (1 - 2 * EDGE) / ((most - least) or 1.0)
    return {part: round(100 * (EDGE + scale * (value - least)), 2) for part, value in marks.items()}
