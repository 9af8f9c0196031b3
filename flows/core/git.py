"""Git, by its command line, as the flows need it."""

import subprocess
from pathlib import Path

from tasks.common.errors import UserError


class GitError(UserError):
    """Git refused; the message has the command and git's own last line."""


def git(root: Path, *arguments: str) -> str:
    """Runs `git ARGUMENTS` in `root`; returns what it printed, without the last line's end. Raises GitError."""
    done = subprocess.run(
        ["git", *arguments], cwd=root, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode:
        lines = (done.stderr + done.stdout).splitlines()
        said = " ".join(line.strip() for line in lines if line.strip() and not line.startswith("hint:"))
        raise GitError(f"`git {' '.join(arguments[:2])}` failed in {root}: {said or 'without a word'}")
    return done.stdout.rstrip("\n")


def has_branch(root: Path, branch: str) -> bool:
    """Whether there is a local branch of this name."""
    return bool(git(root, "branch", "--list", branch))


def remote(root: Path) -> str | None:
    """The remote that results are pushed to: `origin`, or the only one; None where there is none."""
    names = git(root, "remote").split()
    return "origin" if "origin" in names else names[0] if len(names) == 1 else None


def commit_of(root: Path, revision: str) -> str:
    """The full hash of a commit that a branch, tag or hash names; raises UserError when there is no such commit."""
    try:
        return git(root, "rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}")
    except GitError:
        raise UserError(f"git knows no commit `{revision}` in {root}; `git branch` and `git tag` list names") from None


def check_identity(root: Path) -> None:
    """Raises UserError where git would not know whose commits it makes."""
    try:
        git(root, "-c", "user.useConfigOnly=true", "var", "GIT_COMMITTER_IDENT")
    except GitError:
        raise UserError(
            "git does not know who commits here; say so once: "
            'git config --global user.name "Your Name" && git config --global user.email you@example.com'
        ) from None
