"""A consumer of a bundle, who has verify.py and nothing of the project."""

import os
import subprocess
import sys
from pathlib import Path


def verify(folder: Path, cwd: Path | None = None, key: Path | None = None) -> subprocess.CompletedProcess[str]:
    """`python verify.py` by a consumer: nothing of the project can be imported."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    command = [sys.executable, str(folder / "verify.py"), *(["--key", str(key)] if key else [])]
    return subprocess.run(command, cwd=cwd or folder, env=environment, capture_output=True, text=True, check=False)


def faults(folder: Path) -> list[str]:
    """The faults that verify.py finds; its exit code must agree."""
    check = verify(folder)
    assert check.returncode == 1, check.stdout
    assert not check.stderr
    return [line for line in check.stdout.splitlines() if line.startswith("FAIL")]
