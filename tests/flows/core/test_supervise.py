"""The supervisor: nothing that it starts outlives its parent, and a trainer has time to save."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from flows.core.processes import SUPERVISOR
from tests.flows.conftest import ROOT, lives, until

SAVES = """
import time
try:
    print("ready", flush=True)
    time.sleep(60)
except KeyboardInterrupt:
    time.sleep(0.2)
    open("saved", "w").close()
"""
IGNORES = """
import signal, time
for one in (signal.SIGINT, signal.SIGTERM):
    signal.signal(one, signal.SIG_IGN)
print("ready", flush=True)
time.sleep(60)
"""
PARENT = """
import subprocess, sys, time
from flows.core.processes import supervised
from pathlib import Path
child = "import os, time; print(os.getpid(), flush=True); time.sleep(60)"
process = supervised([sys.executable, "-c", child], Path.cwd(), 0.5, stdout=subprocess.PIPE)
print(process.pid, process.stdout.readline(), flush=True)
time.sleep(60)
"""


def start(folder: Path, grace: float, *command: str) -> "subprocess.Popen[str]":
    line = [sys.executable, "-S", str(SUPERVISOR), str(grace), "--", *command]
    return subprocess.Popen(line, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def close_stdin(process: "subprocess.Popen[str]") -> int:
    """Closes the supervisor's stdin, as the death of its parent does, and returns its exit code."""
    assert process.stdin
    process.stdin.close()
    return process.wait(timeout=60)


def first_line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout
    return process.stdout.readline().strip()


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (["true"], 0),
        (["sh", "-c", "exit 3"], 3),
        (["sh", "-c", "kill -TERM $$"], 128 + signal.SIGTERM),
        (["there-is-no-such-command"], 127),
    ],
)
def test_passes_on_how_the_command_ended(tmp_path: Path, command: list[str], code: int) -> None:
    assert start(tmp_path, 1, *command).wait(timeout=60) == code


def test_the_command_may_save_when_its_parent_leaves(tmp_path: Path) -> None:
    process = start(tmp_path, 5, sys.executable, "-c", SAVES)
    assert first_line(process) == "ready"
    assert close_stdin(process) == 0
    assert (tmp_path / "saved").exists()


def test_a_command_that_ignores_signals_is_killed_after_two_graces(tmp_path: Path) -> None:
    process = start(tmp_path, 0.3, sys.executable, "-c", IGNORES)
    assert first_line(process) == "ready"
    began = time.monotonic()
    assert close_stdin(process) == 128 + signal.SIGKILL
    assert time.monotonic() - began >= 0.6


def test_when_the_supervisor_is_killed_the_command_and_its_children_stop(tmp_path: Path) -> None:
    process = start(tmp_path, 5, "sh", "-c", f"{sys.executable} -c '{SAVES}'; true")
    assert first_line(process) == "ready"
    process.kill()
    assert process.stdout and process.stdout.read() == "", "a reader of the output sees its end"
    assert process.wait() == -signal.SIGKILL
    until(lambda: (tmp_path / "saved").exists(), seconds=5)


def test_an_ignored_interrupt_is_not_inherited(tmp_path: Path) -> None:
    shows = "import signal; print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)"
    line = [sys.executable, "-S", str(SUPERVISOR), "1", "--", sys.executable, "-c", shows]
    process = subprocess.Popen(
        ["sh", "-c", 'trap "" INT; exec "$@"', "sh", *line], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert first_line(process) == "True"
    assert process.wait(timeout=60) == 0


def test_what_the_command_leaves_behind_is_stopped(tmp_path: Path) -> None:
    process = start(tmp_path, 0.3, "sh", "-c", "sleep 60 >/dev/null & echo $!")
    pid = int(first_line(process))
    assert process.wait(timeout=60) == 0
    assert not lives(pid)


def test_when_the_parent_is_killed_the_command_stops(tmp_path: Path) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT], cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, text=True
    )
    supervisor, child = map(int, first_line(parent).split())
    assert lives(child)
    parent.kill()
    parent.wait()
    until(lambda: not lives(child) and not lives(supervisor), seconds=5)
