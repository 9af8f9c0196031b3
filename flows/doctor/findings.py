"""A finding, and how another process is asked for one."""

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
    """What was looked at and found; with a cure, it is wrong."""

    what: str
    found: str
    cure: str = ""

    def __str__(self) -> str:
        return f"{'FAIL' if self.cure else 'ok  '}  {self.what:<{WIDTH}} {self.found}" + (
            f"; {self.cure}" if self.cure else ""
        )


def ask(code: str, root: Path) -> dict[str, Any] | str:
    """What a process of its own says as JSON, or its last line where it fails; torch is not imported here."""
    command = [sys.executable, "-c", code]
    try:
        done = subprocess.run(
            command, cwd=root, env=dvc_environment(), capture_output=True, text=True, timeout=SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return f"no answer within {SECONDS} s"
    if done.returncode:
        return (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
    answer: dict[str, Any] = json.loads(done.stdout or "{}")
    return answer
