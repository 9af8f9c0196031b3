"""Small real git and DVC repositories whose stages sleep and write files, and one Prefect server for all tests."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from ruamel.yaml import YAML

from tasks.common.paths import work_folder
from tests.conftest import made_once

if TYPE_CHECKING:
    from tests.flows.released import ReleaseRepository

ROOT = Path(__file__).parents[2]

# Writes its output after some seconds, and when it ran into journal.txt, which DVC does not track.
WORK = """
import sys, time
name, seconds, out = sys.argv[1], float(sys.argv[2]), sys.argv[3]
def note(event):
    with open("journal.txt", "a") as file:
        file.write(f"{event} {name} {time.monotonic()}\\n")
note("start")
time.sleep(seconds)
open(out, "w").write(name)
note("end")
"""

# A stage that reports a mistake of the user.
MISTAKE = f"""
import sys
sys.path.append({str(ROOT)!r})
from tasks.common.cli import run
from tasks.common.errors import UserError
def find():
    raise UserError(sys.argv[1])
run(find)
"""

RUN = "from tasks.common.cli import run; from flows.pipeline import main; run(lambda: main(None))"


class Toy:
    """A git and DVC repository with data/raw under DVC and the stages that a test adds."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.stages: dict[str, dict[str, Any]] = {}

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    def stage(self, name: str, reads: str = "data/raw", seconds: float = 0, cmd: str = "", **meta: object) -> None:
        """Adds a stage that reads `reads` and writes data/NAME; `cmd` instead of waiting `seconds`."""
        command = cmd or f"python work.py {name} {seconds} data/{name}"
        self.stages[name] = {"cmd": command, "deps": [reads], "outs": [f"data/{name}"], "meta": meta}
        self.write()

    def write(self) -> None:
        YAML().dump({"stages": self.stages}, self / "dvc.yaml")

    def run(self, *command: str) -> str:
        done = subprocess.run(command, cwd=self.path, env=self.environment(), capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def dvc(self, *arguments: str) -> str:
        return self.run(sys.executable, "-m", "dvc", *arguments)

    def commit(self) -> None:
        self.run("git", "add", "-A")
        self.run("git", "-c", "user.name=Test", "-c", "user.email=test@example.com", "commit", "-qm", "Start")

    def environment(self, **variables: str) -> dict[str, str]:
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        own = {name: value for name, value in os.environ.items() if name != "PREFECT_HOME"}
        return own | {"PATH": path, "PYTHONPATH": str(ROOT), "DVC_NO_ANALYTICS": "1"} | variables

    def start(self, **variables: str) -> "subprocess.Popen[str]":
        """Starts `make run` without a report in a process group of its own."""
        return subprocess.Popen(
            [sys.executable, "-c", RUN],
            cwd=self.path,
            env=self.environment(**variables),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    @property
    def journal(self) -> list[tuple[str, str, float]]:
        """(start or end, stage, monotonic time) in order."""
        path = self / "journal.txt"
        lines = path.read_text().splitlines() if path.exists() else []
        return [(event, name, float(when)) for event, name, when in map(str.split, lines)]

    def ran(self) -> list[str]:
        return [name for event, name, _ in self.journal if event == "start"]

    def span(self, name: str) -> tuple[float, float]:
        start, end = (when for _, stage, when in self.journal if stage == name)
        return start, end


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A toy without stages; copying it is much faster than making it."""
    return made_once(tmp_path_factory, "template", make_template)


def make_template(folder: Path) -> Path:
    toy = Toy(folder)
    (toy / "data/raw").mkdir(parents=True)
    (toy / "data/raw/image").write_text("pixels")
    (toy / "work.py").write_text(WORK)
    (toy / "mistake.py").write_text(MISTAKE)
    (toy / ".gitignore").write_text(".work\njournal.txt\npid\n__pycache__\n")
    toy.run("git", "init", "-q")
    toy.dvc("init", "-q")
    shutil.copy(ROOT / ".dvc/config", toy / ".dvc/config")
    toy.dvc("add", "-q", "data/raw")
    return toy.path


@pytest.fixture
def toy(template: Path, tmp_path: Path) -> Toy:
    return Toy(shutil.copytree(template, tmp_path / "toy"))


@pytest.fixture
def repo(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> "Iterator[ReleaseRepository]":
    """A repository that can be retrained and released, as the current folder."""
    from tests.flows.released import open_release_repository

    opened = open_release_repository(Path(shutil.copytree(template, tmp_path / "project")))
    monkeypatch.chdir(opened.path)
    work_folder.cache_clear()
    yield opened
    work_folder.cache_clear()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the Prefect server that this process and its children use."""
    os.environ["PREFECT_LOGGING_SETTINGS_PATH"] = str(ROOT / "flows/server/logging.yml")
    os.environ["DO_NOT_TRACK"] = "1"
    os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] = "false"
    from prefect.settings import PREFECT_API_URL
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=120):
        url = PREFECT_API_URL.value()
        assert url
        yield url


def until(condition: Callable[[], object], seconds: float = 90) -> None:
    """Waits until the condition holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "the condition did not become true in time"
        time.sleep(0.05)


def lives(pid: int) -> bool:
    """Returns whether a process runs; a zombie does not."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
