"""The artifacts that a run creates at its end: verdicts, metrics, samples and a link to the report."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact

from flows.ui.summary import REPORT, metrics_rows, read_metrics
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


def publish_artifacts(
    root: Path, report_url: str | None = None, verdicts: Mapping[str, ModelSummary] | None = None
) -> None:
    """Creates the artifacts `verdict`, `metrics`, `samples` and `report`, as far as `root` has their contents.

    `verdicts` are by model. `report_url` is the report's address for a browser; by default it is the file's.
    """
    if verdicts:
        # The UI lists a run's artifacts in no order, so the description holds the verdict already.
        text = "; ".join(_headline(model, one) for model, one in verdicts.items())
        create_markdown_artifact(key="verdict", markdown=verdicts_markdown(verdicts, report_url), description=text)
    if rows := metrics_rows(read_metrics(root)):
        create_table_artifact(key="metrics", table=rows, description="Metrics of the exported files")
    if grids := sorted((root / "data/samples").glob("*/grid.png")):
        models = {path.parent.name: data_uri(path) for path in grids}
        page = "\n\n".join(f"## {model.upper()}\n\n![{model}]({uri})" for model, uri in models.items())
        create_markdown_artifact(key="samples", markdown=page, description="Samples of the exported files")
    if report_url or (root / REPORT).is_file():
        link, about = report_url or (root / REPORT).resolve().as_uri(), "All results on one page"
        create_link_artifact(key="report", link=link, link_text="Report of this run", description=about)


def verdicts_markdown(verdicts: Mapping[str, ModelSummary], report_url: str | None = None) -> str:
    """Returns the page: a line per model, a link to the report, then each model's decision and pictures."""
    lines = "\n".join(f"- {_headline(model, one, '**')}" for model, one in verdicts.items())
    link = [f"[The report of this run]({report_url}) has all curves and metrics."] if report_url else []
    return "\n\n".join([lines, *link, *(part for model, one in verdicts.items() for part in _section(model, one))])


def table_markdown(*rows: Iterable[str]) -> str:
    """Returns the rows, of which the second is the line below the header, as a table in Markdown."""
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _headline(model: str, one: ModelSummary, bold: str = "") -> str:
    outcome = OUTCOMES[one.record.decision] if one.record else f"the same as {one.live}, which is live"
    if one.released:
        # As code, because the UI turns gan@v1.0.0 into an e-mail link.
        outcome = f"{outcome.removesuffix(MAY_GO_LIVE)}, and released as `{one.released}`"
    return f"{bold}{model.upper()}{bold} {outcome}"


def _section(model: str, one: ModelSummary) -> Iterator[str]:
    yield f"## {model.upper()}"
    if one.record:
        yield from _decision(one.record)
    if one.pictures:  # of the candidate and the live model from the same noise, side by side
        paths = {name: one.pictures / f"{name.lower()}.png" for name in ("Candidate", "Live")}
        images = {name: f"![{name}]({data_uri(path, HALF_WIDTH)})" for name, path in paths.items() if path.is_file()}
        if images:
            yield table_markdown(images, ["---"] * len(images), images.values())


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
        head = ("Candidate's metric", "estimate", interval, "margin", "verdict")
        rows = [_row(name, record.comparisons[name]) for name in ordered(list(record.comparisons))]
        yield table_markdown(head, (":---", "---:", "---:", "---:", ":---"), *rows)


def _row(name: str, one: ComparedMetric) -> tuple[str, ...]:
    estimate, low, high, margin = map(format_metric, (one.estimate, one.low, one.high, one.margin))
    verdict = f"**{one.verdict}**" if one.fails else one.verdict
    return f"{describe(name).title}, {KINDS[one.kind]}", estimate, f"{low} to {high}", margin, verdict
