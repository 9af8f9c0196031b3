"""A git worktree for one run: the committed project, with the checkout's DVC cache, remotes and newest data.

No run touches a working tree of the user or of another run. If a run dies, the next one removes its folder.
"""

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from dvc.config import Config
from dvc.repo import Repo
from filelock import FileLock, Timeout

from flows.core.git import GitError, check_identity, commit_of, git
from tasks.common.errors import UserError

DATA_PIN = Path("data/raw.dvc")
LEAST_FREE = 2 * 10**9  # bytes; many times the size of a run's weights, metrics and bundles


@dataclass(frozen=True)
class Worktree:
    """The folder `path` of the run `name`, with the checkout and the commit that it was made from.

    `work` is the checkout's folder for locks, records and reports.
    """

    path: Path
    checkout: Path
    work: Path
    name: str
    commit: str


def preflight(checkout: Path) -> None:
    """Raises UserError for what would fail a run only after hours: no git identity, or too little free disk space."""
    check_identity(checkout)
    free = shutil.disk_usage(checkout).free
    if free < LEAST_FREE:
        raise UserError(
            f"only {free / 1e9:.1f} GB of disk are free at {checkout}, and a run needs {LEAST_FREE / 1e9:.0f} GB; free "
            "some (`dvc gc --workspace --all-branches --all-tags` drops results that no commit names)"
        )


@contextmanager
def open_worktree(checkout: Path, work: Path, name: str, revision: str = "HEAD") -> Iterator[Worktree]:
    """Makes a worktree of `revision` at `work`/worktrees/`name` for the block, and removes it afterwards.

    Raises UserError when the commit cannot be run with the installed libraries.
    """
    commit = commit_of(checkout, revision)
    folder = work / "worktrees"
    folder.mkdir(parents=True, exist_ok=True)
    path, lock = folder / name, FileLock(folder / f"{name}.lock", thread_local=False)
    with FileLock(folder / "setup"):  # else another run might remove this worktree before its lock is taken
        remove_stale(checkout, folder)
        if path.exists():
            raise UserError(f"{path} exists already; remove it with `git worktree remove --force {path}`")
        lock.acquire()
    try:
        git(checkout, "worktree", "add", "--quiet", "--detach", str(path), commit)
        check_requirements(path)
        with Repo(str(checkout)) as repo:
            share_dvc(checkout, path, Path(repo.cache.local_cache_dir))
        yield Worktree(path, checkout, work, name, commit)
    finally:
        _remove(checkout, path)
        Path(lock.lock_file).unlink()
        lock.release()


def use_newest_data(worktree: Worktree) -> None:
    """Replaces the worktree's data/raw.dvc with the checkout's, which the last ingest wrote, committed or not."""
    newest = worktree.checkout / DATA_PIN
    if not newest.is_file():
        raise UserError(f"{newest} is missing, so there is no data to train on; run `make data` in {worktree.checkout}")
    shutil.copyfile(newest, worktree.path / DATA_PIN)


def remove_stale(checkout: Path, folder: Path) -> None:
    """Removes the worktrees in `folder` whose runs are dead, which means that no process holds their locks."""
    for lock_file in folder.glob("*.lock"):
        with suppress(Timeout), FileLock(lock_file).acquire(timeout=0):
            _remove(checkout, lock_file.with_suffix(""))
            lock_file.unlink(missing_ok=True)


def _remove(checkout: Path, path: Path) -> None:
    try:
        git(checkout, "worktree", "remove", "--force", "--force", str(path))
    except GitError:  # the worktree is incomplete
        shutil.rmtree(path, ignore_errors=True)
        git(checkout, "worktree", "prune")


def check_requirements(path: Path) -> None:
    """Raises UserError when the requirements.lock in `path` is not the one that was installed."""
    installed, required = (folder / "requirements.lock" for folder in (Path(sys.prefix), path))
    if installed.is_file() and required.is_file() and installed.read_bytes() != required.read_bytes():
        raise UserError(
            f"the commit's requirements.lock differs from the one that {sys.prefix} was installed from, and other "
            "libraries give other results; run `make setup` in the checkout"
        )


def share_dvc(checkout: Path, path: Path, cache: Path) -> None:
    """Gives a worktree or clone the checkout's DVC remotes, whose relative paths would be wrong there, and a cache."""
    config = Config(str(checkout / ".dvc"))
    local, merged = (config.read(level) for level in ("local", None))  # type: ignore[no-untyped-call]
    with Config(str(path / ".dvc")).edit("local") as own:
        own.update(local)
        own["remote"] = merged.get("remote", {})
        own["cache"] = local.get("cache", {}) | {"dir": str(cache)}
