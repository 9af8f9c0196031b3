"""The `.work` folder, which holds what DVC does not version, for the repository and all its worktrees."""

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path

from filelock import FileLock, Timeout


@cache
def work_folder() -> Path:
    """Returns the `.work` folder beside git's common folder, so that locks and checkpoints outlive a worktree."""
    command = ["git", "rev-parse", "--path-format=absolute", "--git-common-dir"]
    try:
        root = Path(subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()).parent
    except (FileNotFoundError, subprocess.CalledProcessError):  # no repository, or no git on this machine
        root = Path.cwd()
    folder = root / ".work"
    folder.mkdir(exist_ok=True)
    return folder


@contextmanager
def hold_lock(file: Path, message: str, log: Callable[[str], object] | None = None) -> Iterator[None]:
    """Holds the lock `file`, at most until the process ends; while another one has it, shows `message` and waits."""
    file.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(file, thread_local=False)
    try:
        held = lock.acquire(blocking=False)
    except Timeout:
        (log or partial(print, flush=True))(message)
        held = lock.acquire()
    with held:
        yield
