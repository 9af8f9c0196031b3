"""What a command leaves for its supervisor when a person made a mistake, and when none did."""

import subprocess
import sys
from pathlib import Path

import pytest

from tasks.common.files import read_json
from tasks.common.mistakes import VARIABLE, Mistake, leave_mistake, read_mistake
from tests.conftest import ROOT

COMMAND = """
import errno, os, subprocess, sys
from tasks.common.cli import run
from tasks.common.errors import UserError
def main():
    {body}
run(main)
"""


def ended(file: Path, body: str) -> subprocess.CompletedProcess[str]:
    """A command whose supervisor asked for `file`."""
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
def test_a_mistake_is_left_and_said(tmp_path: Path, body: str, kind: str, sentence: str) -> None:
    done = ended(tmp_path / "mistake.json", body)
    left = read_json(tmp_path / "mistake.json")
    assert (left["kind"], left["code"], done.returncode) == (kind, 2, 2)
    assert left["sentence"].startswith(sentence)
    assert done.stderr == f"error: {left['sentence']}\n"


@pytest.mark.parametrize(
    "body", ["pass", "raise ValueError('no such loss')", "os.kill(os.getpid(), 9)", "sys.exit('error: 2')"]
)
def test_whatever_else_ends_a_command_leaves_nothing(tmp_path: Path, body: str) -> None:
    ended(tmp_path / "mistake.json", body)
    assert not [*tmp_path.iterdir()]


def test_a_mistake_of_a_child_is_not_taken_for_its_parents(tmp_path: Path) -> None:
    imports = "from tasks.common.cli import run; from tasks.common.errors import UserError"
    child = f"{imports}; run(lambda: exec('raise UserError(1)'))"
    body = f"subprocess.run([sys.executable, '-c', {child!r}]); print({VARIABLE!r} in os.environ); raise ValueError"
    assert ended(tmp_path / "mistake.json", body).stdout.strip() == "False"
    assert not [*tmp_path.iterdir()]


def test_a_place_that_cannot_be_written_costs_nothing_but_the_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = ended(tmp_path / "file/mistake.json", "raise UserError('size is 27; choose 28')")
    assert (done.returncode, done.stderr) == (2, "error: size is 27; choose 28\n")


def test_half_a_file_is_none(tmp_path: Path) -> None:
    leave_mistake(None, Mistake(kind="user error", sentence="no"))
    (tmp_path / "half").write_text('{"kind": "user err')
    assert read_mistake(tmp_path / "half") is None and read_mistake(tmp_path / "none") is None
    leave_mistake(tmp_path / "whole", Mistake(kind="user error", sentence="no"))
    assert read_mistake(tmp_path / "whole") == Mistake(kind="user error", sentence="no")
