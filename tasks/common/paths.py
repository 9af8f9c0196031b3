"""Where things lie that DVC does not version: one `.work` for the repository and all its worktrees."""

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path

from filelock import FileLock, Timeout


@cache
def work_folder() -> Path:
    """The `.work` folder beside git's common folder, so that locks and checkpoints outlive a worktree."""
    command = ["git", "rev-parse", "--path-format=absolute", "--git-common-dir"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        root = Path(said.strip()).parent
    except (FileNotFoundError, subprocess.CalledProcessError):  # a bare folder, or a machine without git
        root = Path.cwd()
    folder = root / ".work"
    folder.mkdir(exist_ok=True)
    return folder


@contextmanager
def in_turn(file: Path, waiting: str, say: Callable[[str], object] | None = None) -> Iterator[None]:
    """Holds the lock `file` during the block; where somebody else has it, says `waiting` first.

    It is said on the terminal unless `say` is given. The lock dies with the process.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(file, thread_local=False)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        (say or partial(print, flush=True))(waiting)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
