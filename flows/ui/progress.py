"""The progress of a running stage in Prefect's UI: two artifacts that are updated in place.

A server that is away, slow or full costs a refresh; it never fails or delays the run.
"""

import logging
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from uuid import UUID

import psutil
from PIL import Image
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import ArtifactCreate
from prefect.context import TaskRunContext
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings
from pydantic import BaseModel

from flows.ui.artifacts import table_markdown
from tasks.common.image_grid import data_uri
from tasks.common.paths import work_folder
from tasks.common.progress import CAPTION, PICTURE, PROGRESS, VARIABLE

log = logging.getLogger(__name__)

EVERY_SECONDS = 5.0
TIMEOUT_SECONDS = 2.0  # of a request
PATIENCE_SECONDS = 3.0  # for the last refresh, after the stage has ended


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
    metrics: Mapping[str, float | None]
    ended: bool
    at: float

    @property
    def percent(self) -> float:
        """The share that is done, from 0 to 100."""
        return min(100.0, 100 * self.done / max(self.total, 1))


@dataclass(frozen=True)
class StageProgress:
    """The progress of a stage, and its preview image in Markdown, empty if the stage writes none."""

    state: State
    preview: str = ""


@contextmanager
def progress_artifacts(stage: str) -> Iterator[Mapping[str, str]]:
    """Shows a stage's progress in the current task run for the length of the block.

    Yields the environment variables that the stage's process needs.
    """
    try:
        prefix, parent = f"{os.getpid()}-{stage}-", _progress_folder()
        folder = tempfile.TemporaryDirectory(prefix=prefix, dir=parent, ignore_cleanup_errors=True)
    except OSError:  # for example a full disk; the stage runs without progress
        yield {}
        return
    with folder as path:
        publisher = _Publisher(stage, Path(path))
        try:
            yield {VARIABLE: path}
        finally:
            publisher.finish()


def _progress_folder() -> Path:
    """Returns the parent of the temporary folders, after removing those of processes that were killed."""
    folder = work_folder() / "progress"
    folder.mkdir(exist_ok=True)
    for path in folder.iterdir():
        pid = path.name.partition("-")[0]
        if pid.isdecimal() and not psutil.pid_exists(int(pid)):
            shutil.rmtree(path, ignore_errors=True)
    return folder


class _Publisher:
    """A thread that updates a stage's artifacts every few seconds and at the end: a bar, and a page with metrics."""

    def __init__(self, stage: str, folder: Path) -> None:
        self._stage, self._folder, self._over = stage, folder, threading.Event()
        self._published: StageProgress | None = None
        self._ids: dict[str, UUID] = {}
        # Prefect's client reads the server's address and the task run from the context.
        run = copy_context().run
        self._thread = threading.Thread(target=run, args=(self._run,), name=f"progress of {stage}", daemon=True)
        self._thread.start()

    def finish(self) -> None:
        """Ends the thread after a last refresh, which is dropped if the server is slow."""
        self._over.set()
        self._thread.join(PATIENCE_SECONDS)

    def _run(self) -> None:
        with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}):
            while not self._over.wait(EVERY_SECONDS):
                self._refresh()
            self._refresh()

    def _refresh(self) -> None:
        """Creates or updates the artifacts if there is something new."""
        try:
            progress, over = read_progress(self._folder), self._over.is_set()
            if progress and (over or progress != self._published):
                key = self._stage.replace("_", "-")
                self._put(f"{key}-progress", "progress", round(progress.state.percent, 1))
                self._put(f"{key}-live", "markdown", progress_markdown(progress, over))
                self._published = progress
        except Exception as error:  # no error of the display may reach the run
            log.debug("the progress of %s was not shown: %r", self._stage, error)

    def _put(self, key: str, kind: str, data: object) -> None:
        with get_client(sync_client=True, httpx_settings={"timeout": TIMEOUT_SECONDS}) as client:
            if key in self._ids:
                # `client.update_artifact` would also record an event with all of the data, each time.
                client.request("PATCH", "/artifacts/{id}", json={"data": data}, path_params={"id": self._ids[key]})
                return
            run = TaskRunContext.get()
            ids = {"task_run_id": run.task_run.id, "flow_run_id": run.task_run.flow_run_id} if run else {}
            description = f"Progress of {self._stage}"
            artifact = ArtifactCreate(key=key, type=kind, description=description, data=data, **ids)
            self._ids[key] = client.create_artifact(artifact).id


def read_progress(folder: Path) -> StageProgress | None:
    """Reads a stage's progress; None if there is none yet. Raises OSError or ValueError for files that are damaged."""
    try:
        state = State.model_validate_json((folder / PROGRESS).read_bytes())
    except FileNotFoundError:
        return None
    path = folder / PICTURE
    return StageProgress(state, _preview(path, path.stat().st_mtime_ns) if path.exists() else "")


@lru_cache(maxsize=8)
def _preview(path: Path, modified: int) -> str:
    """Reads a preview; `modified` is the modification time of its file in ns, so that the cache sees a new one."""
    with Image.open(path) as image:
        caption = str(image.info.get(CAPTION, ""))
    return f"![{caption}]({data_uri(path)})\n\n*{caption}*"


def progress_markdown(progress: StageProgress, over: bool = False) -> str:
    """Returns the page of a stage; `over` means that its process has ended, perhaps too early."""
    metrics = progress.state.metrics
    values = ("not finite" if value is None else f"{value:.3g}" for value in metrics.values())
    table = table_markdown(metrics, ["---:"] * len(metrics), values) if metrics else ""
    return "\n\n".join(filter(None, (_headline(progress.state, over), table, progress.preview)))


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


def duration(seconds: float) -> str:
    """Formats seconds as `40 s`, `3 min 20 s` or `2 h 5 min`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
