"""The progress files of a running stage, and the page that shows them."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

from PIL import Image
from pydantic import BaseModel

from tasks.common.image_grid import data_uri
from tasks.common.progress import CAPTION, PICTURE, PROGRESS

MINUTE, HOUR = 60, 3600


class State(BaseModel):
    """The contents of progress.json: counts in `unit`, a mean rate, and the latest losses and other metrics.

    A metric that is not finite is None. `at` is the time of writing as a Unix timestamp.
    """

    what: str
    unit: str
    done: int
    total: int
    per_second: float
    seconds_left: float | None
    figures: Mapping[str, float | None]
    ended: bool
    at: float

    @property
    def percent(self) -> float:
        """The share that is done, from 0 to 100."""
        return min(100.0, 100 * self.done / max(self.total, 1))


@dataclass(frozen=True)
class Preview:
    """An image as a data URI, and its caption."""

    uri: str
    caption: str


@dataclass(frozen=True)
class StageProgress:
    """The progress of a stage, and the preview image if the stage writes one."""

    state: State
    preview: Preview | None = None


def read_progress(folder: Path) -> StageProgress | None:
    """Reads a stage's progress; None if there is none yet. Raises OSError or ValueError for files that are damaged."""
    try:
        state = State.model_validate_json((folder / PROGRESS).read_bytes())
    except FileNotFoundError:
        return None
    path = folder / PICTURE
    return StageProgress(state, _preview(path, path.stat().st_mtime_ns) if path.exists() else None)


@lru_cache(maxsize=8)
def _preview(path: Path, modified: int) -> Preview:
    """Reads a preview; `modified` is the modification time of its file in ns, so that the cache sees a new one."""
    with Image.open(path) as image:
        caption = str(image.info.get(CAPTION, ""))
    return Preview(data_uri(path), caption)


def progress_markdown(progress: StageProgress, over: bool = False) -> str:
    """Returns the page of a stage; `over` means that its process has ended, perhaps too early."""
    state, preview = progress.state, progress.preview
    parts = [_headline(state, over)]
    if state.figures:
        rows = [state.figures, ["---:"] * len(state.figures), map(_format, state.figures.values())]
        parts.append("\n".join(f"| {' | '.join(row)} |" for row in rows))
    if preview:
        parts += [f"![{preview.caption}]({preview.uri})", f"*{preview.caption}*"]
    return "\n\n".join(parts)


def _headline(state: State, over: bool) -> str:
    counts = f"**{state.what}**: {state.done:,} of {state.total:,} {state.unit} ({state.percent:.0f} %)"
    rate = f"{state.per_second:,.0f} {state.unit} per second"
    if state.ended and state.done >= state.total:
        return f"{counts}, finished at {rate}"
    if over or state.ended:
        return f"{counts}, stopped there"
    left = f", {duration(state.seconds_left)} left" if state.seconds_left is not None else ""
    when = datetime.fromtimestamp(state.at, UTC)  # an open page does not update itself
    return f"{counts}, {rate}{left}\n\n*As of {when:%H:%M:%S} UTC; reload the page to update it.*"


def _format(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.3g}"


def duration(seconds: float) -> str:
    """Formats seconds as `40 s`, `3 min 20 s` or `2 h 5 min`."""
    whole = round(seconds)
    if whole < MINUTE:
        return f"{whole} s"
    if whole < HOUR:
        return f"{whole // MINUTE} min {whole % MINUTE} s"
    return f"{whole // HOUR} h {whole % HOUR // MINUTE} min"
