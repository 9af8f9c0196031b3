"""What a run shows in Prefect's UI at its end: the verdict first, then figures, samples and the way to the report."""

from collections.abc import Mapping
from pathlib import Path

from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact

from flows.ui.summary import REPORT, metrics_rows, read_metrics
from flows.ui.thumbnails import thumbnail
from flows.ui.verdicts import Shown, verdicts_markdown, verdicts_text


def publish(root: Path, report_url: str | None = None, verdicts: Mapping[str, Shown] | None = None) -> None:
    """Makes the artifacts `verdict`, `metrics`, `samples` and `report` of what `root` holds; leaves out what is not
    there.

    `report_url` is where a browser finds the report; without it, the link is that of the file. `verdicts` are by
    model.
    """
    if verdicts:
        # The UI lists a run's artifacts in no order, so the word is told there already.
        word, why = verdicts_text(verdicts), verdicts_markdown(verdicts, report_url)
        create_markdown_artifact(key="verdict", markdown=why, description=word)
    if rows := metrics_rows(read_metrics(root)):
        create_table_artifact(key="metrics", table=rows, description="Figures of the exported files")
    grids = {path.parent.name: path for path in sorted((root / "data/samples").glob("*/grid.png"))}
    if grids:
        pictures = "\n\n".join(f"## {model.upper()}\n\n![{model}]({thumbnail(path)})" for model, path in grids.items())
        create_markdown_artifact(key="samples", markdown=pictures, description="Samples of the exported files")
    if report_url or (root / REPORT).is_file():
        link = report_url or (root / REPORT).resolve().as_uri()
        create_link_artifact(
            key="report", link=link, link_text="Report of this run", description="All of it, on one page"
        )
