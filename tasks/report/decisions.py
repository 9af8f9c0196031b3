"""What the gate decided of each model, read for the page."""

from pathlib import Path
from typing import Any

from tasks.common.files import sha256_file
from tasks.common.model_names import MODELS
from tasks.common.paths import work_folder
from tasks.gate.record import ComparedMetric, EvaluatedBundle, GateRecord, Kind, NamedBundle, Word, read_record
from tasks.metrics.registry import describe, format_metric, ordered
from tasks.report.embed import embedded
from tasks.report.gather import BUNDLES

EQUAL: dict[Kind, float] = {"ratio": 1.0, "difference": 0.0}  # what a comparison with the live model itself gives
BETTER: dict[Kind, str] = {"ratio": "ratio; below 1 is better", "difference": "difference; above 0 is better"}
GATE_SAID: dict[Word, str] = {"blessed": "blessed", "refused": "refused", "overridden": "refused"}
EDGE = 0.06  # of a strip's width that stays free at both ends


def decisions() -> list[dict[str, Any]]:
    """For each model that the gate was asked about: the verdict in words, what it rests on, and the pictures.

    Raises UserError where a record cannot be read.
    """
    files = {model: work_folder() / "gate" / f"{model}.json" for model in MODELS}
    return [_decision(model, read_record(file)) for model, file in files.items() if file.is_file()]


def _decision(model: str, record: GateRecord) -> dict[str, Any]:
    return {
        "model": model,
        "word": record.decision,
        "sentence": _sentence(record),
        "reasons": record.reasons,
        "override": record.override,
        "not_asked": record.not_asked,
        "elsewhere": _elsewhere(model, record.candidate),
        "confidence": record.confidence,
        "comparisons": [_comparison(name, record.comparisons[name]) for name in ordered(list(record.comparisons))],
        "pictures": _pictures(work_folder() / "gate" / model),
    }


def _sentence(record: GateRecord) -> str:
    """What was decided of which file against which."""
    word, candidate, live = GATE_SAID[record.decision], record.candidate, record.live
    if isinstance(candidate, NamedBundle):
        return f"The gate {word} {_named(candidate)} before it was judged."
    against = f"against the live bundle {_named(live)}" if live else "without a live bundle to compare it with"
    return f"The gate {word} {_named(candidate)} {against}."


def _named(bundle: EvaluatedBundle | NamedBundle) -> str:
    return f"{bundle.bundle} (SHA-256 {bundle.sha256[:12]})" if isinstance(bundle, EvaluatedBundle) else bundle.bundle


def _elsewhere(model: str, candidate: EvaluatedBundle | NamedBundle) -> str:
    """That the decision is about another file than the one that stands in data/bundle, if it is."""
    path = BUNDLES / model / f"{model}.onnx"
    if isinstance(candidate, NamedBundle):
        return ""
    if not path.is_file():
        return f"{path} does not stand here, so this decision is about a file from elsewhere or from before."
    stands = sha256_file(path)
    if stands == candidate.sha256:
        return ""
    return f"This decision is about another file than the {path} that stands here (SHA-256 {stands[:12]})."


def _comparison(name: str, one: ComparedMetric) -> dict[str, Any]:
    values = _values(one)
    return {
        "name": name,
        "title": describe(name).title,
        "kind": BETTER[one.kind],
        "verdict": one.verdict,
        "bad": one.bad,
        "strip": _strip(values | {"equal": EQUAL[one.kind]}),
    } | {part: format_metric(value) for part, value in values.items()}


def _values(one: ComparedMetric) -> dict[str, float]:
    return {"estimate": one.estimate, "low": one.low, "high": one.high, "margin": one.margin}


def _strip(marks: dict[str, float]) -> dict[str, float]:
    """Where estimate, interval, margin and equality lie on a strip, in percent of its width."""
    least, most = min(marks.values()), max(marks.values())
    scale = (1 - 2 * EDGE) / ((most - least) or 1.0)
    return {part: round(100 * (EDGE + scale * (value - least)), 2) for part, value in marks.items()}


def _pictures(folder: Path) -> dict[str, str]:
    """What candidate and live model draw from the same noise; the live one's picture may be missing."""
    paths = {"Candidate": folder / "candidate.png", "Live": folder / "live.png"}
    return {caption: embedded(path) for caption, path in paths.items() if path.is_file()}
