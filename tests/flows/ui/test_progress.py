"""The progress of a running stage in Prefect: two artifacts, updated in place, that never delay the run."""

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from prefect import flow, task
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
from prefect.client.schemas.objects import Artifact as Stored
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.ui import progress
from flows.ui.progress import duration, progress_artifacts, read_progress
from tasks.common.paths import work_folder
from tests.flows.conftest import ROOT, until

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

STATE: dict[str, Any] = {
    "what": "train_gan",
    "unit": "images",
    "done": 250,
    "total": 1000,
    "ended": False,
    "per_second": 125.0,
    "seconds_left": 200.0,
    "at": 0.0,
    "metrics": {"loss_d": 0.5, "loss_g": None},
}


def write_progress(folder: Path, grey: int = 0, **changes: object) -> None:
    """Writes progress files as a trainer does."""
    (folder / "progress.json").write_text(json.dumps(STATE | changes))
    about = PngInfo()
    about.add_text("Description", "the same noise at each step")
    Image.new("L", (30, 30), grey).save(folder / "picture.png", pnginfo=about)


def stored(key: str) -> list[Stored]:
    with get_client(sync_client=True) as client:
        return client.read_artifacts(artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=[key])))


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """A work folder for this test alone."""
    monkeypatch.chdir(tmp_path)
    work_folder.cache_clear()
    yield work_folder()
    work_folder.cache_clear()


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch, work: Path) -> None:
    monkeypatch.setattr(progress, "EVERY_SECONDS", 0.1)


@pytest.mark.usefixtures("server", "often")
def test_a_running_stage_has_artifacts_that_are_updated_in_place() -> None:
    seen: dict[str, Any] = {}

    @task
    def train() -> None:
        with progress_artifacts("train_gan") as environment:
            folder = Path(environment["IMAGEWRIGHT_PROGRESS"])
            write_progress(folder)
            until(lambda: stored("train-gan-live"), 20)
            seen["bar"], seen["page"] = stored("train-gan-progress"), stored("train-gan-live")
            write_progress(folder, grey=200, done=500)
            until(lambda: stored("train-gan-progress")[0].data == 50, 20)
            write_progress(folder, done=1000, ended=True)
        assert not folder.exists()

    @flow
    def whole() -> None:
        train()

    whole()
    (bar,), (page,) = seen["bar"], seen["page"]
    assert (bar.type, bar.data) == ("progress", 25)
    assert bar.task_run_id and bar.flow_run_id
    for part in (
        "250 of 1,000 images (25 %), 125 images per second, 3 min 20 s left\n",
        "00:00:00 UTC",
        "| loss_d | loss_g |",
    ):
        assert part in page.data
    assert "| 0.5 | not finite |" in page.data
    assert "![the same noise at each step](data:image/png;base64," in page.data
    (last_bar,), (last_page,) = stored("train-gan-progress"), stored("train-gan-live")
    assert (last_bar.id, last_page.id) == (bar.id, page.id)
    assert last_bar.data == 100
    assert "1,000 of 1,000 images (100 %), finished at 125 images per second" in last_page.data
    assert last_page.data.split("](data:")[1] == page.data.split("](data:")[1], "grey 0 again"


@pytest.mark.usefixtures("server", "often")
def test_a_stage_that_stops_shows_where_and_one_without_progress_shows_nothing() -> None:
    @flow
    def whole() -> None:
        with progress_artifacts("quiet"):
            time.sleep(0.3)
        with progress_artifacts("broken") as environment:
            write_progress(Path(environment["IMAGEWRIGHT_PROGRESS"]))
            raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011 - raised by the flow itself
        whole()
    assert stored("quiet-live") == []
    assert "250 of 1,000 images (25 %), stopped there" in str(stored("broken-live")[0].data)


def test_the_files_of_a_killed_run_are_removed_by_the_next(work: Path) -> None:
    program = (
        "import os; from flows.ui.progress import progress_artifacts; "
        "shown = progress_artifacts('x'); shown.__enter__(); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", program], env=os.environ | {"PYTHONPATH": str(ROOT)}, check=False)
    (left,) = (work / "progress").iterdir()
    with progress_artifacts("train_gan") as environment:
        assert [*left.parent.iterdir()] == [Path(environment["IMAGEWRIGHT_PROGRESS"])]


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of a server that accepts every connection and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        taken = []
        thread = threading.Thread(target=lambda: [taken.append(listener.accept()) for _ in range(100)], daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/api"


@pytest.mark.usefixtures("often")
@pytest.mark.parametrize("silence", [True, False])
def test_a_server_that_is_away_or_silent_does_not_delay_a_stage(silent: str, silence: bool) -> None:
    url = silent if silence else "http://127.0.0.1:9/api"
    with temporary_settings({PREFECT_API_URL: url}):
        with progress_artifacts("train_gan") as environment:
            folder = Path(environment["IMAGEWRIGHT_PROGRESS"])
            write_progress(folder)
            time.sleep(1)
            ended = time.monotonic()
        assert time.monotonic() - ended < progress.PATIENCE_SECONDS + 1
    assert not folder.exists()


@pytest.mark.usefixtures("server", "often")
def test_a_failed_refresh_is_repeated_by_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    attempts: list[str] = []
    put = progress._Publisher._put

    def shaky(publisher: progress._Publisher, key: str, kind: str, data: object) -> None:
        attempts.append(key)
        if len(attempts) < 3:
            raise ConnectionError
        put(publisher, key, kind, data)

    monkeypatch.setattr(progress._Publisher, "_put", shaky)
    with progress_artifacts("flaky") as environment:
        write_progress(Path(environment["IMAGEWRIGHT_PROGRESS"]))
        until(lambda: stored("flaky-live"), 20)


@pytest.mark.usefixtures("server")
def test_without_a_folder_there_is_no_progress(work: Path) -> None:
    (work / "progress").touch()
    with progress_artifacts("train_gan") as environment:
        assert environment == {}


def test_half_a_file_is_refused_and_no_file_means_no_progress(tmp_path: Path) -> None:
    assert read_progress(tmp_path) is None
    (tmp_path / "progress.json").write_text('{"what": "train')
    with pytest.raises(ValueError, match="Invalid JSON"):
        read_progress(tmp_path)


@pytest.mark.parametrize(
    ("seconds", "said"), [(59.4, "59 s"), (59.6, "1 min 0 s"), (3599, "59 min 59 s"), (7500, "2 h 5 min")]
)
def test_durations(seconds: float, said: str) -> None:
    assert duration(seconds) == said
