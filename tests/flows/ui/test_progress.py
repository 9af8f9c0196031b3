"""A stage's progress in Prefect while it runs: two artifacts, updated in place, that never hold the run up."""

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
from flows.ui.previews import duration, read_progress
from flows.ui.progress import watching
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
    "figures": {"loss_d": 0.5, "loss_g": None},
}


def leave(folder: Path, grey: int = 0, **changes: object) -> None:
    """What a trainer leaves."""
    (folder / "progress.json").write_text(json.dumps(STATE | changes))
    about = PngInfo()
    about.add_text("Description", "drawn from the same noise")
    Image.new("L", (30, 30), grey).save(folder / "picture.png", pnginfo=about)


def stored(key: str) -> list[Stored]:
    with get_client(sync_client=True) as client:
        return client.read_artifacts(artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=[key])))


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """A work folder of the test's own."""
    monkeypatch.chdir(tmp_path)
    work_folder.cache_clear()
    yield work_folder()
    work_folder.cache_clear()


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch, work: Path) -> None:
    monkeypatch.setattr(progress, "EVERY_SECONDS", 0.1)


@pytest.mark.usefixtures("server", "often")
def test_a_running_stage_is_seen_in_artifacts_that_are_updated_in_place() -> None:
    seen: dict[str, Any] = {}

    @task
    def train() -> None:
        with watching("train_gan") as environment:
            folder = Path(environment["IMAGEWRIGHT_PROGRESS"])
            leave(folder)
            until(lambda: stored("train-gan-live"), 20)
            seen["bar"], seen["page"] = stored("train-gan-progress"), stored("train-gan-live")
            leave(folder, grey=200, done=500)
            until(lambda: stored("train-gan-progress")[0].data == 50, 20)
            leave(folder, done=1000, ended=True)
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
    assert "| 0.5 | no number |" in page.data
    assert "![drawn from the same noise](data:image/png;base64," in page.data
    (last_bar,), (last_page,) = stored("train-gan-progress"), stored("train-gan-live")
    assert (last_bar.id, last_page.id) == (bar.id, page.id)
    assert last_bar.data == 100
    assert "1,000 of 1,000 images (100 %), done at 125 images per second" in last_page.data
    assert last_page.data.split("](data:")[1] == page.data.split("](data:")[1], "grey 0 again"


@pytest.mark.usefixtures("server", "often")
def test_a_stage_that_breaks_off_says_where_and_one_that_leaves_nothing_shows_nothing() -> None:
    @flow
    def whole() -> None:
        with watching("quiet"):
            time.sleep(0.3)
        with watching("broken") as environment:
            leave(Path(environment["IMAGEWRIGHT_PROGRESS"]))
            raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011 - its own
        whole()
    assert stored("quiet-live") == []
    assert "250 of 1,000 images (25 %), ended there" in str(stored("broken-live")[0].data)


def test_what_a_killed_run_left_is_cleared_by_the_next(work: Path) -> None:
    leave = (
        "import os, flows.ui.progress; one = flows.ui.progress.watching('x'); one.__enter__(); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", leave], env=os.environ | {"PYTHONPATH": str(ROOT)}, check=False)
    (left,) = (work / "progress").iterdir()
    with watching("train_gan") as environment:
        assert [*left.parent.iterdir()] == [Path(environment["IMAGEWRIGHT_PROGRESS"])]


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of a server that takes every call and answers none."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        taken = []
        thread = threading.Thread(target=lambda: [taken.append(listener.accept()) for _ in range(100)], daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/api"


@pytest.mark.usefixtures("often")
@pytest.mark.parametrize("silence", [True, False])
def test_a_server_that_is_away_or_silent_does_not_hold_a_stage_up(silent: str, silence: bool) -> None:
    url = silent if silence else "http://127.0.0.1:9/api"
    with temporary_settings({PREFECT_API_URL: url}):
        with watching("train_gan") as environment:
            folder = Path(environment["IMAGEWRIGHT_PROGRESS"])
            leave(folder)
            time.sleep(1)
            ended = time.monotonic()
        assert time.monotonic() - ended < progress.PATIENCE_SECONDS + 1
    assert not folder.exists()


@pytest.mark.usefixtures("server", "often")
def test_a_refresh_that_fails_is_made_up_for_by_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[str] = []
    put = progress._Shown._put

    def shaky(shown: progress._Shown, key: str, kind: str, data: object) -> None:
        tried.append(key)
        if len(tried) < 3:
            raise ConnectionError
        put(shown, key, kind, data)

    monkeypatch.setattr(progress._Shown, "_put", shaky)
    with watching("flaky") as environment:
        leave(Path(environment["IMAGEWRIGHT_PROGRESS"]))
        until(lambda: stored("flaky-live"), 20)


@pytest.mark.usefixtures("server")
def test_no_room_for_a_folder_means_no_progress(work: Path) -> None:
    (work / "progress").touch()
    with watching("train_gan") as environment:
        assert environment == {}


def test_half_a_file_is_refused_and_none_is_nothing(tmp_path: Path) -> None:
    assert read_progress(tmp_path) is None
    (tmp_path / "progress.json").write_text('{"what": "train')
    with pytest.raises(ValueError, match="Invalid JSON"):
        read_progress(tmp_path)


@pytest.mark.parametrize(
    ("seconds", "said"), [(59.4, "59 s"), (59.6, "1 min 0 s"), (3599, "59 min 59 s"), (7500, "2 h 5 min")]
)
def test_durations(seconds: float, said: str) -> None:
    assert duration(seconds) == said
