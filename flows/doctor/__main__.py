"""`make doctor`: what of this machine and its set-up would make a run fail, a line each, with the cure.

Exit code 1 when something is wrong.
"""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from flows.doctor.findings import Finding, ask
from flows.doctor.libraries import ASK_LIBRARIES, graphics, installed, onnx_runtimes, python_version, requirements
from flows.doctor.places import disk, dvc_remote, identity, prefect_server
from tasks.common.cli import machine, run
from tasks.common.paths import work_folder


def findings(root: Path) -> Iterator[Finding]:
    """Looks at everything, the quick things first."""
    yield python_version(sys.version_info[:3])
    yield from requirements(root / "pyproject.toml", installed())
    yield onnx_runtimes(installed())
    yield from graphics(ask(ASK_LIBRARIES, root), machine())
    yield disk(shutil.disk_usage(root).free)
    yield identity(root)
    yield dvc_remote(root, work_folder())
    yield prefect_server(work_folder())


def main() -> int:
    """Prints a line per finding; returns the exit code."""
    bad = 0
    for finding in findings(Path.cwd()):
        print(finding, flush=True)
        bad += bool(finding.cure)
    return int(bad > 0)


if __name__ == "__main__":
    run(lambda: sys.exit(main()))
