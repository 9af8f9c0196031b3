"""Disk, git, DVC's remote and Prefect's server."""

import os
from pathlib import Path

from flows.core.git import check_identity
from flows.core.worktree import LEAST_FREE
from flows.doctor.findings import Finding, ask
from flows.server.clients import healthy
from flows.server.remote import default_remote, remote_text
from flows.server.state import live_server
from tasks.common.errors import UserError

ASK_REMOTE = """
from dvc.repo import Repo
with Repo() as repo:
    odb = repo.cloud.get_remote_odb()
    odb.fs.exists(odb.path)
"""


def disk(free: int) -> Finding:
    """Room for one run."""
    cure = "`dvc gc --workspace --all-branches --all-tags` drops results that no commit names"
    found = f"{free / 1e9:,.1f} GB free, a run needs {LEAST_FREE / 1e9:.0f}"
    return Finding("disk", found, cure if free < LEAST_FREE else "")


def identity(root: Path) -> Finding:
    """Whose commits a release makes."""
    try:
        check_identity(root)
    except UserError as error:
        return Finding("git", "nobody's name and address are set", str(error).partition("say so once: ")[2])
    return Finding("git", "knows who commits here")


def dvc_remote(root: Path, work: Path) -> Finding:
    """Whether released data gets to where others find it."""
    remote = default_remote()
    answer = ask(ASK_REMOTE, root) if remote else {}
    if remote and isinstance(answer, str):
        cure = "check address, network and keys, or name another: make remote URL=..."
        return Finding("DVC remote", f"{remote[1]} does not answer ({answer})", cure)
    return Finding("DVC remote", remote_text(work))


def prefect_server(work: Path) -> Finding:
    """The server that would record a run."""
    if url := os.environ.get("PREFECT_API_URL"):
        cure = "" if healthy(url) else "start it, or unset PREFECT_API_URL"
        return Finding("server", f"{url} {'does not answer' if cure else 'answers'}", cure)
    box = live_server(work)
    return Finding(
        "server", f"{box.address} answers" if box else "down; a run starts its own, `make up` one that stays"
    )
