"""The result of a check, and how a check runs code in another process."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.core.dag import dvc_environment

WIDTH, SECONDS = 13, 90


@dataclass(frozen=True)
class Finding:
    """The result of one check; the check failed when there is a fix."""

    name: str
    result: str
    fix: str = ""

    def __str__(self) -> str:
        end = f"; {self.fix}" if self.fix else ""
        return f"{'FAIL' if self.fix else 'ok  '}  {self.name:<{WIDTH}} {self.result}{end}"


def run_json(code: str, root: Path) -> dict[str, Any] | str:
    """Runs Python code in a process of its own, because it imports torch; returns the JSON object that it prints.

    Returns the last line of the error output, as a string, when it fails.
    """
    command = [sys.executable, "-c", code]
    try:
        done = subprocess.run(
            command, cwd=root, env=dvc_environment(), capture_output=True, text=True, timeout=SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return f"no answer within {SECONDS} s"
    if done.returncode:
        return (done.stderr.strip().splitlines() or ["no error message"])[-1]
    output: dict[str, Any] = json.loads(done.stdout or "{}")
    return output
