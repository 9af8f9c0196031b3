"""The git commands that the flows need."""

import subprocess
from pathlib import Path

from tasks.common.errors import UserError

SET_IDENTITY = 'git config --global user.name "Your Name" && git config --global user.email you@example.com'


class GitError(UserError):
    """A git command failed; the message has the command and git's own words."""


def git(root: Path, *arguments: str) -> str:
    """Runs `git ARGUMENTS` in `root`; returns its output without the final newline. Raises GitError."""
    command = ["git", *arguments]
    done = subprocess.run(command, cwd=root, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = (done.stderr + done.stdout).splitlines()
        reason = " ".join(line.strip() for line in lines if line.strip() and not line.startswith("hint:"))
        reason = reason or f"exit code {done.returncode}, no output"
        raise GitError(f"`git {' '.join(arguments[:2])}` failed in {root}: {reason}")
    return done.stdout.rstrip("\n")


def has_branch(root: Path, branch: str) -> bool:
    """Returns whether there is a local branch of this name."""
    return bool(git(root, "branch", "--list", branch))


def remote(root: Path) -> str | None:
    """Returns the remote that results are pushed to: `origin`, or the only one; None if there is none."""
    names = git(root, "remote").split()
    return "origin" if "origin" in names else names[0] if len(names) == 1 else None


def commit_of(root: Path, revision: str) -> str:
    """Returns the full hash of the commit that a branch, tag or hash names; raises UserError if there is none."""
    try:
        return git(root, "rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}")
    except GitError:
        advice = "`git branch` and `git tag` list what you can name"
        raise UserError(f"there is no commit `{revision}` in {root}; {advice}") from None


def check_identity(root: Path) -> None:
    """Raises UserError if git has no name and address for the author of a commit."""
    try:
        git(root, "-c", "user.useConfigOnly=true", "var", "GIT_COMMITTER_IDENT")
    except GitError:
        raise UserError(f"git has no author name and address for commits in {root}; set them: {SET_IDENTITY}") from None
