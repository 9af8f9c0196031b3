"""`make doctor`: checks this machine and its installation, one line per check, with the fix where one fails.

Exit code 1 when a check fails.
"""

import argparse
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from flows.core.git import SET_IDENTITY, check_identity
from flows.core.worktree import LEAST_FREE
from flows.doctor.findings import Finding, run_json
from flows.doctor.libraries import LIBRARIES_CODE, graphics, installed, onnx_runtimes, python_version, requirements
from flows.server.clients import healthy
from flows.server.remote import default_remote, remote_text
from flows.server.state import live_server
from tasks.common.cli import machine, run
from tasks.common.errors import UserError
from tasks.common.paths import work_folder

REMOTE_CODE = """
from dvc.repo import Repo
with Repo() as repo:
    odb = repo.cloud.get_remote_odb()
    odb.fs.exists(odb.path)
"""


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


def disk(free: int) -> Finding:
    """Checks that a run fits on the disk; `free` is in bytes."""
    fix = "`dvc gc --workspace --all-branches --all-tags` deletes results that no commit names"
    result = f"{free / 1e9:,.1f} GB free, a run needs {LEAST_FREE / 1e9:.0f}"
    return Finding("disk", result, fix if free < LEAST_FREE else "")


def identity(root: Path) -> Finding:
    """Checks that git has a name and address for the commits of a release."""
    try:
        check_identity(root)
    except UserError:
        return Finding("git", "no name and address for commits are set", SET_IDENTITY)
    return Finding("git", "a name and address for commits are set")


def dvc_remote(root: Path, work: Path) -> Finding:
    """Checks that DVC's remote, to which releases push their data, answers."""
    remote = default_remote()
    answer = run_json(REMOTE_CODE, root) if remote else {}
    if remote and isinstance(answer, str):
        fix = "check address, network and credentials, or set another remote: make remote URL=..."
        return Finding("DVC remote", f"{remote[1]} does not answer ({answer})", fix)
    return Finding("DVC remote", remote_text(work))


def prefect_server(work: Path) -> Finding:
    """Checks that the server at PREFECT_API_URL answers, or names the server that would record a run."""
    if url := os.environ.get("PREFECT_API_URL"):
        fix = "" if healthy(url) else "start it, or unset PREFECT_API_URL"
        return Finding("server", f"{url} {'does not answer' if fix else 'answers'}", fix)
    state = live_server(work)
    result = f"{state.address} answers" if state else "down; a run starts a temporary one, `make up` a permanent one"
    return Finding("server", result)


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
