"""`make doctor`: checks this machine and its installation, one line per check, with the fix where one fails.

Exit code 1 when a check fails.
"""

import argparse
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from flows.doctor.environment import disk, dvc_remote, identity, prefect_server
from flows.doctor.findings import Finding, run_json
from flows.doctor.libraries import LIBRARIES_CODE, graphics, installed, onnx_runtimes, python_version, requirements
from tasks.common.cli import machine, run
from tasks.common.paths import work_folder


def findings(root: Path) -> Iterator[Finding]:
    """Runs all checks, the fast ones first."""
    yield python_version(sys.version_info[:3])
    yield from requirements(root / "pyproject.toml", installed())
    yield onnx_runtimes(installed())
    yield from graphics(run_json(LIBRARIES_CODE, root), machine())
    yield disk(shutil.disk_usage(root).free)
    yield identity(root)
    yield dvc_remote(root, work_folder())
    yield prefect_server(work_folder())


def main() -> None:
    """Prints the findings; exits with code 1 when one of them needs a fix."""
    failed = False
    for finding in findings(Path.cwd()):
        print(finding, flush=True)
        failed |= bool(finding.fix)
    sys.exit(int(failed))


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()
    run(main)
