"""What the gate decided of each model, read for the page."""

from pathlib import Path
from typing import Any

from tasks.figures import describe, ordered, shown
from tasks.files import sha256_file
from tasks.kinds import MODELS
from tasks.report.embed import embedded
from tasks.report.gather import BUNDLES, optional_json
from tasks.workplace import work_folder

EQUAL = {"ratio": 1.0, "difference": 0.0}  # what a comparison comes to where the candidate is like the live model
BETTER = {"ratio": "ratio; below 1 is better", "difference": "difference; above 0 is better"}
EDGE = 0.06  # of a strip's width that stays free at both ends


def decisions() -> list[dict[str, Any]]:
    """For each model that the gate was asked about: the verdict in words, what it rests on, and the pictures."""
    records = {model: optional_json(work_folder() / "gate" / f"{model}.json") for model in MODELS}
    return [_decision(model, record) for model, record in records.items() if record]


def _decision(model: str, record: dict[str, Any]) -> dict[str, Any]:
    return {
        "model": model,
        "word": record["decision"],
        "sentence": _sentence(record),
        "reasons": record.get("reasons", []),
        "override": record.get("override"),
        "not_asked": record.get("not_asked"),
        "elsewhere": _elsewhere(model, record["candidate"]),
        "confidence": (record.get("settings") or {}).get("confidence"),
        "comparisons": [_comparison(name, one) for name, one in _in_order(record)],
        "pictures": _pictures(work_folder() / "gate" / model),
    }


def _in_order(record: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    comparisons = record.get("comparisons", {})
    return [(name, comparisons[name]) for name in ordered(list(comparisons))]


def _sentence(record: dict[str, Any]) -> str:
    """What was decided of which file against which."""
    word = "blessed" if record["decision"] == "blessed" else "refused"
    candidate, live = record["candidate"], record.get("live")
    if live:
        return f"The gate {word} {_named(candidate)} against the live bundle {_named(live)}."
    without = "without a live bundle to compare it with" if "figures" in candidate else "before it was judged"
    return f"The gate {word} {_named(candidate)} {without}."


def _named(judged: dict[str, Any]) -> str:
    sha256 = judged.get("sha256")
    return f"{judged['bundle']} (SHA-256 {sha256[:12]})" if sha256 else str(judged["bundle"])


def _elsewhere(model: str, candidate: dict[str, Any]) -> str:
    """That the decision is about another file than the one that stands in data/bundle, if it is."""
    path, judged = BUNDLES / model / f"{model}.onnx", candidate.get("sha256")
    if judged is None:
        return ""
    if not path.is_file():
        return f"{path} does not stand here, so this decision is about a file from elsewhere or from before."
    stands = sha256_file(path)
    if stands == judged:
        return ""
    return f"This decision is about another file than the {path} that stands here (SHA-256 {stands[:12]})."


def _comparison(name: str, one: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": name,
        "title": describe(name).title,
        "kind": BETTER.get(one["kind"], one["kind"]),
        "verdict": one["verdict"],
        "bad": "worse" in one["verdict"] and one["verdict"] != "no worse",
        "strip": _strip(one),
    } | {part: shown(one[part]) for part in ("estimate", "low", "high", "margin")}


def _strip(one: dict[str, Any]) -> dict[str, float]:
    """Where estimate, interval, margin and equality lie on a strip, in percent of its width."""
    marks = {part: one[part] for part in ("estimate", "low", "high", "margin")} | {"equal": EQUAL.get(one["kind"], 0.0)}
    least, most = min(marks.values()), max(marks.values())
    scale = (1 - 2 * EDGE) / ((most - least) or 1.0)
    return {part: round(100 * (EDGE + scale * (value - least)), 2) for part, value in marks.items()}


def _pictures(folder: Path) -> dict[str, str]:
    """What candidate and live model draw from the same noise; the live one's picture may be missing."""
    paths = {"Candidate": folder / "candidate.png", "Live": folder / "live.png"}
    return {caption: embedded(path) for caption, path in paths.items() if path.is_file()}
