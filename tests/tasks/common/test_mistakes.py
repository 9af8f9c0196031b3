"""The file in which a command reports a user's mistake, and that no other end of the command writes one."""

import subprocess
import sys
from pathlib import Path

import pytest

from tasks.common.files import read_json
from tasks.common.mistakes import VARIABLE, Mistake, read_mistake, write_mistake
from tests.conftest import ROOT

COMMAND = """
import errno, os, subprocess, sys
from tasks.common.cli import run
from tasks.common.errors import UserError
def main():
    {body}
run(main)
"""


def finished(file: Path, body: str) -> subprocess.CompletedProcess[str]:
    """Runs a command whose supervisor asked for `file`."""
    command = [sys.executable, "-c", COMMAND.format(body=body)]
    environment = {"PATH": "/usr/bin:/bin", VARIABLE: str(file)}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("body", "kind", "sentence"),
    [
        ("raise UserError('size is 27; choose 28')", "user error", "size is 27; choose 28"),
        ("raise OSError(errno.ENOSPC, 'No space left on device', '/data')", "disk full", "the disk is full at /data ("),
    ],
)
def test_a_mistake_is_printed_and_written(tmp_path: Path, body: str, kind: str, sentence: str) -> None:
    done = finished(tmp_path / "mistake.json", body)
    written = read_json(tmp_path / "mistake.json")
    assert (written["kind"], written["code"], done.returncode) == (kind, 2, 2)
    assert written["sentence"].startswith(sentence)
    assert done.stderr == f"error: {written['sentence']}\n"


@pytest.mark.parametrize(
    "body", ["pass", "raise ValueError('no such loss')", "os.kill(os.getpid(), 9)", "sys.exit('error: 2')"]
)
def test_any_other_end_of_a_command_writes_no_file(tmp_path: Path, body: str) -> None:
    finished(tmp_path / "mistake.json", body)
    assert not [*tmp_path.iterdir()]


def test_a_childs_mistake_is_not_reported_as_its_parents(tmp_path: Path) -> None:
    imports = "from tasks.common.cli import run; from tasks.common.errors import UserError"
    child = f"{imports}; run(lambda: exec('raise UserError(1)'))"
    body = f"subprocess.run([sys.executable, '-c', {child!r}]); print({VARIABLE!r} in os.environ); raise ValueError"
    assert finished(tmp_path / "mistake.json", body).stdout.strip() == "False"
    assert not [*tmp_path.iterdir()]


def test_a_command_whose_file_cannot_be_written_still_prints_its_mistake(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = finished(tmp_path / "file/mistake.json", "raise UserError('size is 27; choose 28')")
    assert (done.returncode, done.stderr) == (2, "error: size is 27; choose 28\n")


def test_an_incomplete_file_is_read_as_none(tmp_path: Path) -> None:
    write_mistake(None, Mistake(kind="user error", sentence="no"))
    (tmp_path / "partial").write_text('{"kind": "user err')
    assert read_mistake(tmp_path / "partial") is None and read_mistake(tmp_path / "none") is None
    write_mistake(tmp_path / "whole", Mistake(kind="user error", sentence="no"))
    assert read_mistake(tmp_path / "whole") == Mistake(kind="user error", sentence="no")
