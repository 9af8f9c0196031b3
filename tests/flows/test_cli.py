"""The command line `imagewright`, and that neither it nor a stage runs the code of another checkout."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from flows.__main__ import COMMANDS
from tests.conftest import ROOT

SCRIPT = Path(sys.executable).parent / "imagewright"


def call(*command: object, cwd: Path = ROOT, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | variables
    return subprocess.run([*map(str, command)], cwd=cwd, env=environment, capture_output=True, text=True, check=False)


def test_the_help_page_names_every_command_with_what_it_does() -> None:
    page = call(sys.executable, "-m", "flows", "--help").stdout
    for commands in COMMANDS.values():
        for command, (_, about) in commands.items():
            assert f"  {command:<11}{about}\n" in page
    assert max(map(len, page.splitlines())) <= 100


@pytest.mark.parametrize("command", ["run", "data", "gate", "release", "reproduce", "lineage", "sign", "up", "ingest"])
def test_a_command_describes_itself(command: str) -> None:
    done = call(sys.executable, "-m", "flows", command, "--help")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"usage: imagewright {command} [-h]")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["gate-and-release", "HEAD"], "there is no command `gate-and-release`; it is now called `release`"),
        (["bake"], "there is no command `bake`; see `imagewright --help`"),
        (["release", "--models", "both"], "argument --models: `both` is now called `all`"),
        (["retrain", "--set", "train_gan.seed"], "--set train_gan.seed is not KEY=VALUE"),
    ],
)
def test_a_wrong_word_is_one_sentence(arguments: list[str], complaint: str) -> None:
    done = call(sys.executable, "-m", "flows", *arguments)
    assert done.returncode == 2
    assert complaint in done.stderr.splitlines()[-1]


def test_the_console_script_runs_the_checkout_in_which_it_is_called(tmp_path: Path) -> None:
    assert "no flows/__main__.py" in call(SCRIPT, "status", cwd=tmp_path).stderr
    (tmp_path / "flows").mkdir()
    (tmp_path / "flows/__init__.py").touch()
    (tmp_path / "flows/__main__.py").write_text("import sys; print('this checkout', *sys.argv[1:])")
    assert call(SCRIPT, "status", cwd=tmp_path).stdout == "this checkout status\n"


@pytest.mark.parametrize("flags", [[], ["-P"]])
def test_a_stage_refuses_the_code_of_another_checkout(tmp_path: Path, flags: list[str]) -> None:
    done = call(sys.executable, *flags, "-m", "tasks.preprocess", cwd=tmp_path, PYTHONPATH=str(ROOT))
    assert done.returncode == 2
    assert f"error: the stage would run the code of {ROOT} on the data of {tmp_path}; run it from {ROOT}" in done.stderr
