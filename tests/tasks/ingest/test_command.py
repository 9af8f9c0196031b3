"""The commands: the one-line error that a user sees, and that a failed command leaves nothing behind."""

import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tasks.common.files import sha256_tree
from tasks.ingest.idx import write_idx
from tasks.ingest.raw import build_manifest, write_manifest
from tests.conftest import Checkout

CLOSED = "http://127.0.0.1:9"  # the port `discard`, where nothing listens


def _error(done: subprocess.CompletedProcess[str]) -> str:
    """Returns the one-line error of a command that failed because of a user's mistake."""
    assert done.returncode == 2, done.stdout + done.stderr
    *rest, last = done.stderr.splitlines()
    assert last.startswith("error: ")
    assert not any("Traceback" in line for line in rest)
    return last


def _escaping(path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("../../escaped.png", b"x")
    return path


def _empty(path: Path) -> Path:
    path.mkdir()
    return path


def _text(path: Path) -> Path:
    path.write_text("no archive")
    return path


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: path, "neither a data set's name (fashion-mnist or digits) nor a folder"),
        (_empty, "there are no files to ingest"),
        (_text, "neither a folder nor a whole zip or tar"),
        (_escaping, "points outside of the folder"),
    ],
)
def test_a_bad_source_is_a_one_line_error_and_leaves_nothing(
    checkout: Checkout, tmp_path: Path, make: Callable[[Path], Path], words: str
) -> None:
    done = checkout.python("-m", "tasks.ingest", str(make(tmp_path / "source")))
    assert words in _error(done)
    assert sorted(path.name for path in (checkout / "data").iterdir()) == [".gitignore"]
    assert not list(tmp_path.rglob("escaped.png"))


def test_without_network_and_packages_the_error_names_every_place(checkout: Checkout, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "git").symlink_to(shutil.which("git") or "git")
    closed = {name: CLOSED for kind in ("http_proxy", "https_proxy") for name in (kind, kind.upper())}
    done = checkout.python("-m", "tasks.ingest", env={"PATH": str(tmp_path / "bin"), "no_proxy": "", **closed})
    sentence = _error(done)
    assert "Connection refused" in sentence
    assert "apt-get is not on this machine" in sentence
    assert "--from FOLDER" in sentence
    assert sorted(path.name for path in (checkout / "data").iterdir()) == [".gitignore"]


def test_outside_of_the_project_is_an_error(checkout: Checkout, tmp_path: Path) -> None:
    shutil.rmtree(checkout / ".dvc")
    assert "run this from the project's folder" in _error(checkout.python("-m", "tasks.ingest", "digits"))


def test_a_full_disk_leaves_the_old_data_and_nothing_else(checkout: Checkout) -> None:
    raw = checkout / "data" / "raw"
    raw.mkdir()
    write_idx(raw / "images-idx3-ubyte", np.random.default_rng(0).integers(0, 256, (2000, 28, 28)).astype(np.uint8))
    write_manifest(raw, build_manifest(raw, "folder", None))
    prepared = checkout / "data" / "prepared"
    assert checkout.python("-m", "tasks.preprocess").returncode == 0
    before = sha256_tree(prepared)
    command = f"ulimit -f 512 && exec '{sys.executable}' -m tasks.preprocess"
    assert "the disk is full" in _error(checkout.run("bash", "-c", command))
    assert sha256_tree(prepared) == before
    assert sorted(path.name for path in (checkout / "data").iterdir()) == [".gitignore", "prepared", "raw"]


def test_importing_ingest_and_preprocess_loads_neither_torch_nor_dvc(checkout: Checkout) -> None:
    code = "import sys, tasks.ingest.__main__, tasks.preprocess.prepare, tasks.preprocess.decoding as d; "
    code += "print([name for name in ('torch', 'dvc', 'sklearn', 'prefect') if name in sys.modules])"
    assert checkout.python("-c", code).stdout == "[]\n"
