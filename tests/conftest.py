"""A real checkout of the project for tests: a copy of its files in a git and DVC repository."""

import os
import shutil
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from filelock import FileLock
from ruamel.yaml import YAML

from tasks.common.runtime import limit_threads

ROOT = Path(__file__).parents[1]
WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"
STARTERS = {"checkout", "digits", "training_server", "server"}  # fixtures that start programs
SHIPPED = [
    ".dvc/.gitignore",
    ".dvc/config",
    ".dvcignore",
    ".gitignore",
    "data/.gitignore",
    "dvc.yaml",
    "flows",
    "models",
    "params.yaml",
    "prefect.yaml",
    "presets",
    "pyproject.toml",
    "requirements.lock",
    "tasks",
]


class Checkout:
    """A folder with the project; commands run in it with this interpreter first on PATH."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    def run(
        self, *command: str, env: Mapping[str, str] | None = None, **options: object
    ) -> subprocess.CompletedProcess[str]:
        """Runs a command to its end; output is captured as text, the exit code is not checked."""
        return subprocess.run(  # type: ignore[call-overload,no-any-return]
            command, cwd=self.path, env=self.environment(env), capture_output=True, text=True, check=False, **options
        )

    def python(self, *arguments: str, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """Runs `python ARGUMENTS` to its end."""
        return self.run(sys.executable, *arguments, env=env)

    def environment(self, variables: Mapping[str, str] | None = None) -> dict[str, str]:
        """Returns the environment that `make` sets: the interpreter's folder is first on PATH."""
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        return os.environ | {"PATH": path, "DVC_NO_ANALYTICS": "1"} | dict(variables or {})

    def set_params(self, **changes: object) -> None:
        """Writes values into params.yaml by dotted key, with `__` for the dot."""
        yaml = YAML()
        values = yaml.load(self / "params.yaml")
        for name, value in changes.items():
            *sections, key = name.split("__")
            section = values
            for part in sections:
                section = section[part]
            section[key] = value
        yaml.dump(values, self / "params.yaml")


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    """The project after a clone: committed, without data."""
    return make_checkout(tmp_path / "project")


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails the test if anything uses the network."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(urllib.request, "urlopen", refuse)


@pytest.fixture(autouse=True)
def settings_of_a_process() -> Iterator[None]:
    """Sets one thread, and restores afterwards what a stage or a test set in torch for the whole process."""
    limit_threads(1)
    with kept_settings():
        yield


@contextmanager
def kept_settings() -> Iterator[None]:
    """Restores torch's choice of algorithms; deterministic ones, which fill memory with NaN, would stay on."""
    deterministic, warn_only = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    benchmark, workspace = torch.backends.cudnn.benchmark, os.environ.get(WORKSPACE)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
        torch.backends.cudnn.benchmark = benchmark
        if workspace is None:
            os.environ.pop(WORKSPACE, None)
        else:
            os.environ[WORKSPACE] = workspace


def make_checkout(path: Path) -> Checkout:
    """Copies the project to `path` and commits it in a git repository of its own."""
    for name in SHIPPED:
        source, target = ROOT / name, path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("*.pyc.*"))  # files that are being written
        else:
            shutil.copy2(source, target)
    git = ["git", "-c", "user.name=Test", "-c", "user.email=test@example.com"]
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "Start"]):
        subprocess.run([*git, *command], cwd=path, check=True)
    return Checkout(path)


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], Path]) -> Path:
    """Returns what `make` made in an empty folder; of all test processes, the first that needs it calls `make`."""
    base = factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name
    with FileLock(f"{folder}.lock"):
        if not (note := folder.with_suffix(".made")).is_file():
            folder.mkdir()
            note.write_text(str(make(folder)))
    return Path(note.read_text())


def pytest_configure() -> None:
    """Sets one thread per process, and hides an outer `make` from the `make` of a test, which would print its folder.

    The test processes share the cores, and two threads that wait for each other actively take four to twenty times as
    long as one.
    """
    os.environ |= {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    os.environ.setdefault(WORKSPACE, ":4096:8")  # cuBLAS reads it once, before the first deterministic test
    for name in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS"):
        os.environ.pop(name, None)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselects tests that need a GPU where there is none; they are not skips, which fail in CI.

    Files that start programs come first: a file of minutes at the end would leave the other cores idle.
    """
    starters = {item.path for item in items if not STARTERS.isdisjoint(item.fixturenames)}
    items.sort(key=lambda item: item.path not in starters and item.path.parent != ROOT / "tests")
    needing = [item for item in items if item.get_closest_marker("gpu")]
    if needing and not torch.cuda.is_available():
        items[:] = [item for item in items if item not in needing]
        config.hook.pytest_deselected(items=needing)


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Fails the run for a skipped test if NO_SKIPS is set, as in CI, where every package is installed."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("NO_SKIPS") and reporter is not None and reporter.stats.get("skipped") and exitstatus == 0:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
