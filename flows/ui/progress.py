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
TIMEOUT_SECONDS = 2.0  # of a request
PATIENCE_SECONDS = 3.0  # for the last refresh, after the stage has ended


@contextmanager
def progress_artifacts(stage: str) -> Iterator[Mapping[str, str]]:
    """Shows a stage's progress in the current task run for the length of the block.

    Yields the environment variables that the stage's process needs.
    """
    try:
        folder = tempfile.TemporaryDirectory(
            prefix=f"{os.getpid()}-{stage}-", dir=_progress_folder(), ignore_cleanup_errors=True
        )
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
