"""What became of each model of a run, in words: the gate's decision, what it rests on and a release, if any."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from flows.ui.thumbnails import thumbnail
from tasks.gate.record import ComparedMetric, EvaluatedBundle, GateRecord, Kind, Word
from tasks.metrics.registry import describe, format_metric, ordered

MAY_GO = ": it may go live"
WORDS: dict[Word, str] = {
    "blessed": f"blessed{MAY_GO}",
    "refused": "refused: the live model stays",
    "overridden": "refused by the gate, and let through by a person",
}
HALF = 370  # pixels: half of a page in Prefect's UI
KINDS: dict[Kind, str] = {"ratio": "times the live model's", "difference": "more than the live model's"}


@dataclass(frozen=True)
class Shown:
    """What a run shows of one model.

    Attributes:
        record: What the gate decided; None for a model that is live already, so that the gate was not asked.
        live: The release that is live already, where `record` is None.
        released: The version that was published, if one was.
        pictures: The folder with candidate.png and live.png.
    """

    record: GateRecord | None
    live: str = ""
    released: str | None = None
    pictures: Path | None = None


def verdicts_markdown(verdicts: Mapping[str, Shown], report_url: str | None = None) -> str:
    """A page: a line per model and the way to the report, then each model's reasons, comparisons and pictures."""
    lines = "\n".join(f"- {_headline(model, one, '**')}" for model, one in verdicts.items())
    more = [f"[The report of this run]({report_url}) has all curves and figures."] if report_url else []
    return "\n\n".join([lines, *more, *("\n\n".join(_section(model, one)) for model, one in verdicts.items())])


def verdicts_text(verdicts: Mapping[str, Shown]) -> str:
    """What became of each model, in a line: for the flow's last state and the artifact's description."""
    return "; ".join(_headline(model, one, "") for model, one in verdicts.items())


def _headline(model: str, one: Shown, bold: str) -> str:
    word = WORDS[one.record.decision] if one.record else f"the same as {one.live}, which is live"
    # As code, or the UI takes gan@v1.0.0 for an e-mail address.
    if one.released:
        word = f"{word.removesuffix(MAY_GO)}, and released as `{one.released}`"
    return f"{bold}{model.upper()}{bold} {word}"


def _section(model: str, one: Shown) -> Iterator[str]:
    yield f"## {model.upper()}"
    if one.record:
        yield from _record(one.record)
    if one.pictures:
        yield from _pictures(one.pictures)


def _record(record: GateRecord) -> Iterator[str]:
    if record.override:
        yield f"{record.override.by} let it through: {record.override.because}"
    if record.reasons:
        yield "Against it speaks:\n\n" + "\n".join(f"- {reason}" for reason in record.reasons)
    if record.not_asked:
        yield f"Not asked: {record.not_asked}"
    if record.comparisons:
        yield _comparisons(record)
    elif record.live is None and isinstance(record.candidate, EvaluatedBundle):
        yield "There was no live model to compare it with; the limits of params.yaml alone decided."


def _comparisons(record: GateRecord) -> str:
    found, confidence = record.comparisons, record.confidence
    interval = f"{confidence:.0%} interval" if confidence else "interval"
    head = (
        f"| Against the live model | estimate | {interval} | margin | verdict |\n| :--- | ---: | ---: | ---: | :--- |"
    )
    return "\n".join([head, *(_row(name, found[name]) for name in ordered(list(found)))])


def _row(name: str, one: ComparedMetric) -> str:
    """Figures are the candidate's over, or less, the live model's."""
    interval = f"{format_metric(one.low)} to {format_metric(one.high)}"
    word = f"**{one.verdict}**" if one.bad else one.verdict
    title = f"{describe(name).title}, {KINDS[one.kind]}"
    return f"| {title} | {format_metric(one.estimate)} | {interval} | {format_metric(one.margin)} | {word} |"


def _pictures(folder: Path) -> Iterator[str]:
    """Candidate and live model side by side, as they draw from the same noise."""
    names = {"Candidate": folder / "candidate.png", "Live": folder / "live.png"}
    found = {name: thumbnail(path, HALF) for name, path in names.items() if path.is_file()}
    if found:
        yield "\n".join(
            f"| {' | '.join(row)} |"
            for row in (found, ["---"] * len(found), [f"![{name}]({uri})" for name, uri in found.items()])
        )
