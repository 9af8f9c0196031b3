"""What `make` refuses before it downloads anything, and that it builds .venv only when the lock file changed."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

TARGETS = (
    "run",
    "release",
    "reproduce",
    "doctor",
    "up",
    "down",
    "status",
    "remote",
    "test",
    "check",
    "repro",
    "data",
    "lock",
    "clean",
)
OLD_PYTHON = f"""#!{sys.executable}
import sys
sys.version_info, sys.version = (3, 9, 2), "3.9.2 (made up)"
exec(sys.argv[2])
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with what `make setup` reads."""
    for name in ("Makefile", "requirements.lock"):
        shutil.copy2(ROOT / name, tmp_path / name)
    return tmp_path


def make(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["make", *arguments], cwd=folder, capture_output=True, text=True, check=False)


def test_too_old_a_python_is_refused_in_one_sentence(folder: Path) -> None:
    old = folder / "python"
    old.write_text(OLD_PYTHON)
    old.chmod(0o755)
    done = make(folder, "setup", f"PYTHON={old}")
    assert done.returncode != 0
    assert done.stderr.startswith("error: Imagewright needs Python 3.11 or later")
    assert "is 3.9.2" in done.stderr
    assert not (folder / ".venv").exists()


def test_too_little_disk_is_refused_with_what_is_needed(folder: Path) -> None:
    done = make(folder, "setup", f"PYTHON={sys.executable}", "NEEDED_GB=1000000")
    assert done.returncode != 0
    assert done.stderr.startswith("error: Imagewright needs 1000000 GB of free disk here")
    assert not (folder / ".venv").exists()


def test_an_environment_that_fits_the_lock_is_left_alone(folder: Path) -> None:
    (folder / ".venv/bin").mkdir(parents=True)
    (folder / ".venv/bin/imagewright").touch(0o755)
    shutil.copy2(folder / "requirements.lock", folder / ".venv/requirements.lock")
    done = make(folder, "setup", "PYTHON=/nowhere/python")
    assert done.returncode == 0, done.stderr
    (folder / "requirements.lock").write_text("another==1.0\n")
    assert make(folder, "setup", "PYTHON=/nowhere/python").returncode != 0


def test_a_stage_under_a_wrong_interpreter_says_so() -> None:
    bare = [sys.executable, "-S", "-m", "tasks.train.gan"]  # an interpreter without our packages
    done = subprocess.run(bare, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {sys.executable} is not Imagewright's interpreter; put the checkout's .venv")


def test_the_lock_names_no_index_and_hashes_everything() -> None:
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    assert not [line for line in lines if "://" in line or line.startswith("-")]
    pins = [line for line in lines if "==" in line and not line.lstrip().startswith(("#", "--hash"))]
    assert pins
    assert all(line.endswith("\\") for line in pins)


def test_help_lists_every_target() -> None:
    said = make(ROOT, "help").stdout
    assert all(f"make {target} " in said for target in TARGETS)
