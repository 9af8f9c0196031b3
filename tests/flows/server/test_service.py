"""The systemd unit, the entry points in prefect.yaml, and the settings that make passes on."""

import getpass
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from tests.conftest import ROOT

UNIT = (ROOT / "docs/imagewright.service").read_text()
SHOW = """#!/bin/sh
env | grep ^IMAGEWRIGHT_ | grep -v '=$' | sort
tr '\\0' ' ' < /proc/$$/cmdline
"""


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    unit = tmp_path / "imagewright.service"
    here = UNIT.replace("/srv/imagewright/.venv/bin/python", sys.executable).replace("/srv/imagewright", str(ROOT))
    unit.write_text(here.replace("User=imagewright", f"User={getpass.getuser()}"))
    done = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    unit.write_text(here.replace("KillMode=mixed", "KilMode=mixed"))
    done = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False)
    assert "KilMode" in done.stderr, "systemd-analyze reports an unknown key"


LOAD = """
import sys
from prefect.flows import load_flow_from_entrypoint
print(*(load_flow_from_entrypoint(entrypoint).name for entrypoint in sys.argv[1:]))
"""


def test_prefect_yaml_names_existing_flows() -> None:
    declared = YAML(typ="safe").load(ROOT / "prefect.yaml")["deployments"]
    entrypoints = sorted({one["entrypoint"] for one in declared})
    command = [sys.executable, "-c", LOAD, *entrypoints]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["deprecate", "gate-and-release", "retrain", "rollback"], done.stderr


def test_make_passes_its_settings_on_but_no_stray_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    interpreter = tmp_path / ".venv/bin/python"
    interpreter.parent.mkdir(parents=True)
    interpreter.write_text(SHOW)
    interpreter.chmod(0o755)
    (tmp_path / ".venv/bin/imagewright").symlink_to(interpreter)
    for target in (tmp_path, tmp_path / ".venv"):
        shutil.copy(ROOT / "requirements.lock", target)
    shutil.copy(ROOT / "Makefile", tmp_path)
    for name, value in {"HOST": "stray", "IMAGEWRIGHT_PORT": "5", "IMAGEWRIGHT_PASSWORD": "a $x#b"}.items():
        monkeypatch.setenv(name, value)
    done = subprocess.run(
        ["make", "up", "PORT=4300", "WATCH=a folder"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    *settings, command = done.stdout.splitlines()
    assert settings == ["IMAGEWRIGHT_PASSWORD=a $x#b", "IMAGEWRIGHT_PORT=4300", "IMAGEWRIGHT_WATCH=a folder"]
    assert command.split()[-2:] == ["flows", "up"]
