"""An example in JavaScript as a consumer sets it up: a copy of its folder, and `npm ci`."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT

OFFLINE = ("EAI_AGAIN", "ENOTFOUND", "ETIMEDOUT", "ECONNREFUSED", "ENETUNREACH")


def install(place: Path, name: str) -> Path:
    """Copies the examples to `place` and installs what `name` needs; gives its folder.

    Skips the test where there is no Node, no npm or no registry.
    """
    for program, package in (("node", "nodejs"), ("npm", "npm")):
        if shutil.which(program) is None:
            pytest.skip(f"needs Debian's package {package}")
    shutil.copytree(ROOT / "examples", place, ignore=shutil.ignore_patterns("node_modules", "dist", "__pycache__"))
    installed = subprocess.run(
        ["npm", "ci", "--prefer-offline"], cwd=place / name, capture_output=True, text=True, check=False
    )
    if any(sign in installed.stderr for sign in OFFLINE):
        pytest.skip("needs a registry of npm that answers")
    assert installed.returncode == 0, installed.stderr
    return place / name


def node(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Runs `node ARGUMENTS` to its end."""
    command = ["node", *map(str, arguments)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=120)


def evaluate(folder: Path, script: str, given: Any) -> Any:
    """What a module in `folder` prints as JSON; it finds `given` under that name."""
    (folder / "given.json").write_text(json.dumps(given))
    read = 'import { readFileSync } from "node:fs";\nconst given = JSON.parse(readFileSync("given.json"));\n'
    (folder / "script.mjs").write_text(read + script)
    done = node(folder, "script.mjs")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
