"""Where things lie that DVC does not version: one `.work` for the repository and all its worktrees."""

import subprocess
from functools import cache
from pathlib import Path


@cache
def work_folder() -> Path:
    """The `.work` folder beside git's common folder, so that locks and checkpoints outlive a worktree."""
    git = subprocess.run(
        ["git", "rev-parse", "--path-format=absolute", "--git-common-dir"], capture_output=True, text=True, check=False
    )
    root = Path(git.stdout.strip()).parent if git.returncode == 0 else Path.cwd()
    folder = root / ".work"
    folder.mkdir(exist_ok=True)
    return folder
