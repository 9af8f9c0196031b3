"""The page of a run's verdicts in Prefect's UI: each model's gate decision with its comparisons, and its release."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tasks.common.image_grid import data_uri
from tasks.gate.record import ComparedMetric, GateOutcome, GateRecord, Kind
from tasks.metrics.registry import describe, format_metric, ordered

MAY_GO_LIVE = ": it may go live"
OUTCOMES: dict[GateOutcome, str] = {
    "blessed": f"blessed{MAY_GO_LIVE}",
    "refused": "refused: the live model stays",
    "overridden": "refused by the gate, and a person overrode that",
}
HALF_WIDTH = 370  # pixels: half of a page in Prefect's UI
KINDS: dict[Kind, str] = {"ratio": "divided by the live model's", "difference": "minus the live model's"}


@dataclass(frozen=True)
class ModelSummary:
    """What a run's page shows about one model.

    Attributes:
        record: The gate's record; None for a model that is live already, which the gate does not evaluate.
        live: The release that is live already, where `record` is None.
        released: The version that was published, if one was.
        pictures: The folder with candidate.png and live.png.
    """

    record: GateRecord | None
    live: str = ""
    released: str | None = None
    pictures: Path | None = None


def verdicts_markdown(verdicts: Mapping[str, ModelSummary], report_url: str | None = None) -> str:
    """Returns the page: a line per model, a link to the report, then each model's decision and pictures."""
    lines = "\n".join(f"- {_headline(model, one, '**')}" for model, one in verdicts.items())
    link = [f"[The report of this run]({report_url}) has all curves and metrics."] if report_url else []
    return "\n\n".join([lines, *link, *("\n\n".join(_section(model, one)) for model, one in verdicts.items())])


def verdicts_text(verdicts: Mapping[str, ModelSummary]) -> str:
    """Returns the outcome of each model on one line, for the flow's final state and the artifact's description."""
    return "; ".join(_headline(model, one, "") for model, one in verdicts.items())


def _headline(model: str, one: ModelSummary, bold: str) -> str:
    outcome = OUTCOMES[one.record.decision] if one.record else f"the same as {one.live}, which is live"
    if one.released:
        # As code, because the UI turns gan@v1.0.0 into an e-mail link.
        outcome = f"{outcome.removesuffix(MAY_GO_LIVE)}, and released as `{one.released}`"
    return f"{bold}{model.upper()}{bold} {outcome}"


def _section(model: str, one: ModelSummary) -> Iterator[str]:
    yield f"## {model.upper()}"
    if one.record:
        yield from _decision(one.record)
    if one.pictures:
        yield from _pictures(one.pictures)


def _decision(record: GateRecord) -> Iterator[str]:
    yield record.sentence
    if record.override:
        yield f"{record.override.by} gave this reason for the override: {record.override.because}"
    if record.reasons:
        yield "Reasons for the refusal:\n\n" + "\n".join(f"- {reason}" for reason in record.reasons)
    if record.skipped:
        yield f"Not used: {record.skipped}"
    if record.comparisons:
        interval = f"{record.confidence:.0%} interval" if record.confidence else "interval"
        rows = [_row(name, record.comparisons[name]) for name in ordered(list(record.comparisons))]
        head = f"| Candidate's metric | estimate | {interval} | margin | verdict |"
        yield "\n".join([head, "| :--- | ---: | ---: | ---: | :--- |", *rows])


def _row(name: str, one: ComparedMetric) -> str:
    verdict = f"**{one.verdict}**" if one.fails else one.verdict
    cells = (
        format_metric(one.estimate),
        f"{format_metric(one.low)} to {format_metric(one.high)}",
        format_metric(one.margin),
        verdict,
    )
    return f"| {describe(name).title}, {KINDS[one.kind]} | {' | '.join(cells)} |"


def _pictures(folder: Path) -> Iterator[str]:
    """Yields a table of the candidate's and the live model's images from the same noise, side by side."""
    paths = {"Candidate": folder / "candidate.png", "Live": folder / "live.png"}
    found = {name: data_uri(path, HALF_WIDTH) for name, path in paths.items() if path.is_file()}
    if found:
        yield "\n".join(
            f"| {' | '.join(row)} |"
            for row in (found, ["---"] * len(found), [f"![{name}]({uri})" for name, uri in found.items()])
        )
