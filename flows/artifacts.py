"""What a run shows in Prefect's UI: sample grids, figures and the way to the report."""

import base64
import io
from pathlib import Path

from PIL import Image
from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact

from flows.summary import REPORT, figures_rows, read_figures

THUMBNAIL_SIDE = 512  # pixels; artifacts live in Prefect's database


def publish(root: Path) -> None:
    """Makes the artifacts `samples`, `metrics` and `report` of what `root` holds; what is not there is left out."""
    grids = {path.parent.name: path for path in sorted((root / "data/samples").glob("*/grid.png"))}
    if grids:
        pictures = "\n\n".join(f"## {model}\n\n![{model}]({_data_uri(path)})" for model, path in grids.items())
        create_markdown_artifact(key="samples", markdown=pictures, description="Samples of the exported files")
    if rows := figures_rows(read_figures(root)):
        create_table_artifact(key="metrics", table=rows, description="Figures of the exported files")
    if (root / REPORT).is_file():
        create_link_artifact(key="report", link=(root / REPORT).resolve().as_uri(), link_text="Report of this run")


def _data_uri(path: Path) -> str:
    """A PNG file as a data URI that any page can show, made smaller where it is larger than a thumbnail."""
    with Image.open(path) as image:
        image.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
        buffer = io.BytesIO()
        image.save(buffer, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
