"""What became of each model of a run, in words: the gate's decision, what it rests on, and the release if there is one.

A verdict is what `python -m tasks.gate` writes as JSON, with two keys more where they apply: `released`, the version
that was published, and `pictures`, the folder with candidate.png and live.png.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from flows.thumbnails import thumbnail
from tasks.figures import describe, ordered, shown

Verdict = Mapping[str, Any]

MAY_GO = ": it may go live"
WORDS = {
    "blessed": f"blessed{MAY_GO}",
    "refused": "refused: the live model stays",
    "overridden": "refused by the gate, and let through by a person",
}
HALF = 370  # pixels: half of a page in Prefect's UI
KINDS = {"ratio": "times the live model's", "difference": "more than the live model's"}


def verdicts_markdown(verdicts: Mapping[str, Verdict], report_url: str | None = None) -> str:
    """A page: a line per model and the way to the report, then each model's reasons, comparisons and pictures."""
    lines = "\n".join(f"- {_headline(model, one, '**')}" for model, one in verdicts.items())
    more = [f"[The report of this run]({report_url}) has all curves and figures."] if report_url else []
    return "\n\n".join([lines, *more, *("\n\n".join(_section(model, one)) for model, one in verdicts.items())])


def verdicts_text(verdicts: Mapping[str, Verdict]) -> str:
    """What became of each model, in a line: for the flow's last state and the artifact's description."""
    return "; ".join(_headline(model, one, "") for model, one in verdicts.items())


def _headline(model: str, verdict: Verdict, bold: str) -> str:
    decision = str(verdict["decision"])
    word = WORDS.get(decision, decision)
    # As code, or the UI takes gan@v1.0.0 for an e-mail address.
    if version := verdict.get("released"):
        word = f"{word.removesuffix(MAY_GO)}, and released as `{version}`"
    return f"{bold}{model.upper()}{bold} {word}"


def _section(model: str, verdict: Verdict) -> Iterator[str]:
    yield f"## {model.upper()}"
    override = verdict.get("override")
    if override:
        yield f"{override['by']} let it through: {override['because']}"
    if verdict.get("reasons"):
        yield "Against it speaks:\n\n" + "\n".join(f"- {reason}" for reason in verdict["reasons"])
    if verdict.get("not_asked"):
        yield f"Not asked: {verdict['not_asked']}"
    if verdict.get("comparisons"):
        yield _comparisons(verdict)
    elif "live" in verdict and verdict["live"] is None:
        yield "There was no live model to compare it with; the limits of params.yaml alone decided."
    if verdict.get("pictures"):
        yield from _pictures(Path(verdict["pictures"]))


def _comparisons(verdict: Verdict) -> str:
    found: Mapping[str, Mapping[str, Any]] = verdict["comparisons"]
    confidence = (verdict.get("settings") or {}).get("confidence")
    interval = f"{confidence:.0%} interval" if confidence else "interval"
    head = (
        f"| Against the live model | estimate | {interval} | margin | verdict |\n| :--- | ---: | ---: | ---: | :--- |"
    )
    return "\n".join([head, *(_row(name, found[name]) for name in ordered(list(found)))])


def _row(name: str, one: Mapping[str, Any]) -> str:
    """Figures are the candidate's over, or less, the live model's."""
    kind = KINDS.get(one["kind"], one["kind"])
    interval = f"{shown(one['low'])} to {shown(one['high'])}"
    word = f"**{one['verdict']}**" if one["verdict"] in ("worse", "perhaps worse") else one["verdict"]
    return (
        f"| {describe(name).title}, {kind} | {shown(one['estimate'])} | {interval} | {shown(one['margin'])} | {word} |"
    )


def _pictures(folder: Path) -> Iterator[str]:
    """Candidate and live model side by side, as they draw from the same noise."""
    names = {"Candidate": folder / "candidate.png", "Live": folder / "live.png"}
    found = {name: thumbnail(path, HALF) for name, path in names.items() if path.is_file()}
    if found:
        yield "\n".join(
            f"| {' | '.join(row)} |"
            for row in (found, ["---"] * len(found), [f"![{name}]({uri})" for name, uri in found.items()])
        )
