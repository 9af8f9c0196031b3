"""How far a stage is, as Prefect shows it while the stage runs: two artifacts that are updated in place.

All of it is a view. A server that is away, slow or full costs a refresh and never the run, nor any of its time.
"""

import logging
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import copy_context
from pathlib import Path
from uuid import UUID

import psutil
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import ArtifactCreate
from prefect.context import TaskRunContext
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings

from flows.ui.previews import StageProgress, progress_markdown, read_progress
from tasks.common.paths import work_folder
from tasks.common.progress import VARIABLE

log = logging.getLogger(__name__)

EVERY_SECONDS = 5.0
TIMEOUT_SECONDS = 2.0  # of a call
PATIENCE_SECONDS = 3.0  # for the last refresh, at the stage's end


@contextmanager
def watching(stage: str) -> Iterator[Mapping[str, str]]:
    """Shows what a stage leaves of its progress, for as long as the block runs it, in the task run that it stands in.

    Gives what the stage's process needs in its environment.
    """
    try:
        folder = tempfile.TemporaryDirectory(
            prefix=f"{os.getpid()}-{stage}-", dir=_swept(work_folder() / "progress"), ignore_cleanup_errors=True
        )
    except OSError:  # no room, and then no progress
        yield {}
        return
    with folder as path:
        watcher = _Watcher(stage, Path(path))
        try:
            yield {VARIABLE: path}
        finally:
            watcher.finish()


def _swept(folder: Path) -> Path:
    """The folder of these folders, without those of processes that were killed."""
    folder.mkdir(exist_ok=True)
    for left in folder.iterdir():
        owner = left.name.partition("-")[0]
        if owner.isdecimal() and not psutil.pid_exists(int(owner)):
            shutil.rmtree(left, ignore_errors=True)
    return folder


class _Watcher:
    """A thread that looks every few seconds, and once more at the end."""

    def __init__(self, stage: str, folder: Path) -> None:
        self._folder, self._over = folder, threading.Event()
        self._seen: StageProgress | None = None
        self._shown = _Shown(stage)
        # Whose address and task run Prefect's calls concern is found in the context.
        run = copy_context().run
        self._thread = threading.Thread(target=run, args=(self._watch,), name=f"watching {stage}", daemon=True)
        self._thread.start()

    def finish(self) -> None:
        """Ends it; what the server does not take soon is left out."""
        self._over.set()
        self._thread.join(PATIENCE_SECONDS)

    def _watch(self) -> None:
        with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}):
            while not self._over.wait(EVERY_SECONDS):
                self._refresh()
            self._refresh()

    def _refresh(self) -> None:
        """Shows what is new."""
        try:
            stage_progress, over = read_progress(self._folder, self._seen), self._over.is_set()
            if stage_progress and (over or stage_progress != self._seen):
                self._shown.update(stage_progress, over)
                self._seen = stage_progress
        except Exception as error:  # whatever happens to a view must not happen to the run
            log.debug("progress is not shown this time: %r", error)


class _Shown:
    """The artifacts of one stage's progress: a bar, and a page with figures and a picture."""

    def __init__(self, stage: str) -> None:
        self._stage, self._key, self._ids = stage, stage.replace("_", "-"), dict[str, UUID]()

    def update(self, stage_progress: StageProgress, over: bool) -> None:
        """Creates them or replaces what they show; raises whatever the client does."""
        self._put(f"{self._key}-progress", "progress", round(stage_progress.state.percent, 1))
        self._put(f"{self._key}-live", "markdown", progress_markdown(stage_progress, over))

    def _put(self, key: str, kind: str, data: object) -> None:
        with get_client(sync_client=True, httpx_settings={"timeout": TIMEOUT_SECONDS}) as client:
            if key in self._ids:
                # `client.update_artifact` would file an event with all of the data as well, each time.
                client.request("PATCH", "/artifacts/{id}", json={"data": data}, path_params={"id": self._ids[key]})
                return
            run = TaskRunContext.get()
            ids = {"task_run_id": run.task_run.id, "flow_run_id": run.task_run.flow_run_id} if run else {}
            about = f"How far {self._stage} is"
            created = client.create_artifact(ArtifactCreate(key=key, type=kind, description=about, data=data, **ids))
            self._ids[key] = created.id
