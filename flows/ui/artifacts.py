"""The artifacts that a run creates at its end: verdicts, metrics, samples and a link to the report."""

from collections.abc import Mapping
from pathlib import Path

from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact

from flows.ui.summary import REPORT, metrics_rows, read_metrics
from flows.ui.verdicts import ModelSummary, verdicts_markdown, verdicts_text
from tasks.common.image_grid import data_uri


def publish_artifacts(
    root: Path, report_url: str | None = None, verdicts: Mapping[str, ModelSummary] | None = None
) -> None:
    """Creates the artifacts `verdict`, `metrics`, `samples` and `report`, as far as `root` has their contents.

    `verdicts` are by model. `report_url` is the report's address for a browser; by default it is the file's.
    """
    if verdicts:
        # The UI lists a run's artifacts in no order, so the description holds the verdict already.
        text, page = verdicts_text(verdicts), verdicts_markdown(verdicts, report_url)
        create_markdown_artifact(key="verdict", markdown=page, description=text)
    if rows := metrics_rows(read_metrics(root)):
        create_table_artifact(key="metrics", table=rows, description="Metrics of the exported files")
    grids = {path.parent.name: path for path in sorted((root / "data/samples").glob("*/grid.png"))}
    if grids:
        page = "\n\n".join(f"## {model.upper()}\n\n![{model}]({data_uri(path)})" for model, path in grids.items())
        create_markdown_artifact(key="samples", markdown=page, description="Samples of the exported files")
    if report_url or (root / REPORT).is_file():
        link = report_url or (root / REPORT).resolve().as_uri()
        create_link_artifact(
            key="report", link=link, link_text="Report of this run", description="All results on one page"
        )
