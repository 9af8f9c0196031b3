"""Every script of bench/ runs at its smallest size and writes rows of the one form, so that none of them rots."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT

QUICK = {"figures", "stream_memory"}  # seconds; the others train, or start many processes
SCRIPTS = sorted(file for file in (ROOT / "bench").glob("*.py") if '__name__ == "__main__"' in file.read_text())
FORM = {"figure", "value", "unit", "required", "reached"}


def chosen() -> list[Any]:
    return [pytest.param(file, id=file.stem, marks=[] if file.stem in QUICK else pytest.mark.long) for file in SCRIPTS]


def kept() -> dict[Path, int]:
    """What a measurement must leave alone: files that people or DVC keep, by when they were written."""
    folders = (ROOT / "bench/results", ROOT / "data")
    files = [ROOT / "bench/RESULTS.md", *(path for folder in folders for path in folder.rglob("*"))]
    return {file: file.stat().st_mtime_ns for file in files if file.is_file()}


@pytest.mark.parametrize("script", chosen())
def test_a_measurement_runs_and_writes_rows(script: Path, tmp_path: Path) -> None:
    before, table = kept(), tmp_path / "rows.json"
    done = run(script, "--tiny", "--json", str(table))
    assert done.returncode == 0, done.stdout + done.stderr
    rows = json.loads(table.read_text(), parse_constant=pytest.fail)
    assert rows, "no figure was measured"
    for row in rows:
        check(row)
    assert kept() == before


def check(row: dict[str, Any]) -> None:
    assert row.keys() == FORM
    assert isinstance(row["figure"], str) and row["figure"].strip()
    assert row["value"] is None or type(row["value"]) in (int, float)
    assert isinstance(row["unit"], str) and isinstance(row["required"], str)
    assert row["reached"] in (None, True, False)
    assert row["required"] or row["reached"] is None


def run(script: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """As a person starts it, in the project's folder."""
    command = [sys.executable, str(script.relative_to(ROOT)), *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_the_scripts_are_found() -> None:
    assert {"figures", "gate", "train_speed"} <= {file.stem for file in SCRIPTS}
    assert {file.stem for file in SCRIPTS}.isdisjoint({"arguments", "checkouts", "peers", "rows", "trials"})
