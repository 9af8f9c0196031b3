"""A git worktree for one run: the committed project, with the checkout's DVC cache, remotes and newest data.

Nobody's working tree is touched, two runs never meet, and a run that dies leaves a folder that the next one removes.
"""

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dvc.config import Config
from dvc.repo import Repo
from filelock import FileLock, Timeout

from flows.core.git import GitError, check_identity, commit_of, git
from tasks.common.errors import UserError

DATA_PIN = Path("data/raw.dvc")
LEAST_FREE = 2 * 10**9  # bytes; weights, figures and bundles of a run fit in there many times


@dataclass(frozen=True)
class Worktree:
    """The folder of a run, the checkout that it came from, and the commit that stands in it."""

    path: Path
    checkout: Path
    commit: str

    def head(self) -> str:
        """The commit that stands in it now."""
        return commit_of(self.path, "HEAD")


def preflight(checkout: Path) -> None:
    """Raises UserError for what would end a run after hours: no identity, no room, other libraries than the lock's."""
    check_identity(checkout)
    free = shutil.disk_usage(checkout).free
    if free < LEAST_FREE:
        raise UserError(
            f"{free / 1e9:.1f} GB of disk are free at {checkout} and a run needs {LEAST_FREE / 1e9:.0f}; make room "
            "(`dvc gc --workspace --all-branches --all-tags` drops results that no commit names)"
        )


@contextmanager
def worktree(checkout: Path, work: Path, name: str, revision: str = "HEAD") -> Iterator[Worktree]:
    """Gives a run a worktree of `revision` under `work`/worktrees/`name`, and removes it afterwards.

    Raises UserError when the project cannot be run from there.
    """
    commit = commit_of(checkout, revision)
    folder = work / "worktrees"
    folder.mkdir(parents=True, exist_ok=True)
    path, lock = folder / name, FileLock(folder / f"{name}.lock", thread_local=False)
    with FileLock(folder / "setup"):  # else one run might take another's, not locked yet, for a dead one's
        remove_stale(checkout, folder)
        if path.exists():
            raise UserError(f"{path} is there already; remove it with `git worktree remove --force {path}`")
        lock.acquire()
    try:
        git(checkout, "worktree", "add", "--quiet", "--detach", str(path), commit)
        check_lock(path)
        share_dvc(checkout, path, _cache(checkout))
        yield Worktree(path, checkout, commit)
    finally:
        _remove(checkout, path)
        Path(lock.lock_file).unlink()
        lock.release()


def take_newest_data(place: Worktree) -> None:
    """Puts the data that the checkout's ingest took in last, committed or not, in the place of the committed one."""
    newest = place.checkout / DATA_PIN
    if not newest.is_file():
        raise UserError(f"{newest} is missing, so there is no data to train on; run `make data` in {place.checkout}")
    shutil.copyfile(newest, place.path / DATA_PIN)


def remove_stale(checkout: Path, folder: Path) -> None:
    """Removes worktrees in `folder` whose runs are dead: nobody holds their locks."""
    for lock_file in folder.glob("*.lock"):
        lock = FileLock(lock_file)
        try:
            with lock.acquire(timeout=0):
                _remove(checkout, lock_file.with_suffix(""))
        except Timeout:
            continue
        lock_file.unlink(missing_ok=True)


def _remove(checkout: Path, path: Path) -> None:
    try:
        git(checkout, "worktree", "remove", "--force", "--force", str(path))
    except GitError:  # half made, or half removed
        shutil.rmtree(path, ignore_errors=True)
        git(checkout, "worktree", "prune")


def check_lock(path: Path) -> None:
    """Raises UserError where the commit wants other libraries than are installed."""
    installed = Path(sys.prefix) / "requirements.lock"
    wanted = path / "requirements.lock"
    if installed.is_file() and wanted.is_file() and installed.read_bytes() != wanted.read_bytes():
        raise UserError(
            f"the commit's requirements.lock is not what {sys.prefix} was made from, and other libraries give other "
            "results; run `make setup` in the checkout"
        )


def share_dvc(checkout: Path, path: Path, cache: Path) -> None:
    """Lets a worktree or clone use the checkout's remotes, and a cache: relative paths would point elsewhere there."""
    known = Config(str(checkout / ".dvc"))
    mine, all_levels = (known.read(level) for level in ("local", None))  # type: ignore[no-untyped-call]
    with Config(str(path / ".dvc")).edit("local") as own:
        own.update(mine)
        own["remote"] = all_levels.get("remote", {})
        own["cache"] = mine.get("cache", {}) | {"dir": str(cache)}


def _cache(checkout: Path) -> Path:
    with Repo(str(checkout)) as repo:
        return Path(repo.cache.local_cache_dir)
