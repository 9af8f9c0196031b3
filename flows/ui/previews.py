"""What a running stage left of its progress, and how that reads."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from PIL import Image
from pydantic import BaseModel

from flows.ui.thumbnails import thumbnail
from tasks.common.progress import CAPTION, PICTURE, PROGRESS

MINUTE, HOUR = 60, 3600


class State(BaseModel):
    """progress.json. `per_second` is a mean; `figures` are the latest losses, say, None where one is no number."""

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
        """Of the whole."""
        return min(100.0, 100 * self.done / max(self.total, 1))


@dataclass(frozen=True)
class Picture:
    """A picture as a data URI, what it shows, and the time of its file in ns."""

    uri: str
    caption: str
    time: int


@dataclass(frozen=True)
class StageProgress:
    """All that is to be seen of a stage."""

    state: State
    picture: Picture | None = None


def read_progress(folder: Path, before: StageProgress | None = None) -> StageProgress | None:
    """What lies in the folder by now, None where nothing does; an unchanged picture is taken from the sight `before`.

    Raises OSError or ValueError for files that cannot be read.
    """
    try:
        state = State.model_validate_json((folder / PROGRESS).read_bytes())
    except FileNotFoundError:
        return None
    return StageProgress(state, _picture(folder / PICTURE, before.picture if before else None))


def _picture(path: Path, before: Picture | None) -> Picture | None:
    if not path.exists():
        return before
    time = path.stat().st_mtime_ns
    if before and before.time == time:
        return before
    with Image.open(path) as image:
        caption = str(image.info.get(CAPTION, ""))
    return Picture(thumbnail(path), caption, time)


def progress_markdown(stage_progress: StageProgress, over: bool = False) -> str:
    """The page of a stage; `over` where its process has ended, be it too early."""
    picture = stage_progress.picture
    shown = [f"![{picture.caption}]({picture.uri})", f"*{picture.caption}*"] if picture else []
    return "\n\n".join([_headline(stage_progress.state, over), *_table(stage_progress.state), *shown])


def _headline(state: State, over: bool) -> str:
    far = f"**{state.what}**: {state.done:,} of {state.total:,} {state.unit} ({state.percent:.0f} %)"
    rate = f"{state.per_second:,.0f} {state.unit} per second"
    if state.ended and state.done >= state.total:
        return f"{far}, done at {rate}"
    if over or state.ended:
        return f"{far}, ended there"
    left = f", {duration(state.seconds_left)} left" if state.seconds_left is not None else ""
    when = datetime.fromtimestamp(state.at, UTC)  # since an open page does not follow by itself
    return f"{far}, {rate}{left}\n\n*Seen at {when:%H:%M:%S} UTC; load this page again for what came since.*"


def _table(state: State) -> list[str]:
    """The figures, a column each."""
    if not state.figures:
        return []
    rows = [state.figures, ["---:"] * len(state.figures), map(_shown, state.figures.values())]
    return ["\n".join(f"| {' | '.join(row)} |" for row in rows)]


def _shown(value: float | None) -> str:
    return "no number" if value is None else f"{value:.3g}"


def duration(seconds: float) -> str:
    """Seconds as people say them: `40 s`, `3 min 20 s`, `2 h 5 min`."""
    whole = round(seconds)
    if whole < MINUTE:
        return f"{whole} s"
    if whole < HOUR:
        return f"{whole // MINUTE} min {whole % MINUTE} s"
    return f"{whole // HOUR} h {whole % HOUR // MINUTE} min"
