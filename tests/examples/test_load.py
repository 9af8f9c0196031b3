"""The measurement of the HTTP example, in small."""

import json
import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT


def test_the_load_test_finds_no_fault(gan: Path, tmp_path: Path) -> None:
    command = [sys.executable, "bench/serving.py", str(gan), "--seconds", "4", "--rate", "40"]
    done = subprocess.run([*command, "--json", tmp_path / "rows.json"], cwd=ROOT, capture_output=True, text=True)
    rows = {row["figure"]: row for row in json.loads((tmp_path / "rows.json").read_text())}
    assert rows["errors"]["value"] == 0, done.stdout
    assert rows["requests"]["value"] >= 150
    assert rows["latency, 99th percentile"]["value"] > 0
