"""A release on its way out: data goes to the DVC remote first, then commit and branch, then the tags, so that a tag
that somebody sees has its data.

What ships is data/release/MODEL: the stage's bundle, and the lineage that no stage may know. DVC has the folder and git
its lineage in a commit of its own on top of the results', which only the tags name: branches, and whoever merges them,
never see it, and the stage's output stays a function of its inputs.
"""

import json
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from flows.core.dag import dvc_command
from flows.core.git import GitError, commit_of, git, remote
from flows.core.processes import Log, ProcessGroup, StageError
from flows.release.registry import Change, Release, tags
from flows.ui.summary import RECORD
from tasks.common.errors import UserError
from tasks.common.model_names import MODELS
from tasks.common.paths import in_turn

LOCK = "dvc.lock"
RELEASE = Path("data/release")
PUSH_DEADLINE, PACK_DEADLINE = 6 * 3600, 1800
INTERFACE = ("inputs", "outputs", "labels", "range", "noise_law")  # what a consumer's code rests on


def release_lock(work: Path, say: Log) -> AbstractContextManager[None]:
    """One run at a time compares with what is live and takes its place."""
    return in_turn(work / "release.lock", "waiting for another run to release its models", say)


def commit_results(root: Path, branch: str, subject: str, body: str) -> str:
    """Commits what git keeps of a run in the worktree `root`, on a new branch; returns the commit's hash."""
    git(root, "switch", "--quiet", "--create", branch)
    git(root, "add", "--all", "--", *(name for name in RECORD if (root / name).exists()))
    git(root, "commit", "--quiet", "--allow-empty", "-m", subject, "-m", body)
    return commit_of(root, "HEAD")


def pack(
    processes: ProcessGroup, release: Release, parent: Release | None, run: str, decision: Path | None, say: Log
) -> None:
    """Makes data/release/MODEL in the crew's worktree and gives it to DVC; the commit comes after the push."""
    command = ["python", "-m", "tasks.release", release.model, "--version", release.version, "--run", run]
    command += ["--parent", parent.version] if parent else []
    command += ["--decision", str(decision)] if decision else []
    if key := signing_key(processes.root):
        command += ["--key", str(key)]
    processes.run(command, say, PACK_DEADLINE)
    processes.run(dvc_command("add", "--quiet", str(RELEASE / release.model)), say, PACK_DEADLINE)


def signing_key(root: Path) -> Path | None:
    """The private key that releases are signed with, if git's configuration names one."""
    try:
        return Path(git(root, "config", "--type=path", "imagewright.signingKey"))
    except GitError:
        return None


def commit_release(root: Path, packed: list[Release]) -> str:
    """Commits what git keeps of the packed releases, on no branch; returns the commit's hash."""
    git(root, "switch", "--quiet", "--detach")
    files = [str(RELEASE / f"{release.model}{suffix}") for release in packed for suffix in (".dvc", ".json")]
    git(root, "add", "--force", "--", *files)
    names = ", ".join(map(str, packed))
    git(root, "commit", "--quiet", "-m", f"Release {names}", *_bodies(root, packed))
    return commit_of(root, "HEAD")


def _bodies(root: Path, packed: list[Release]) -> list[str]:
    return [part for release in packed for part in ("-m", notes_of(root, release.model))]


def notes_of(root: Path, model: str) -> str:
    """The release notes without their pictures, which a message cannot hold."""
    text = (root / RELEASE / model / "RELEASE.md").read_text(encoding="utf-8")
    blocks = text.rstrip("\n").split("\n\n")
    pictures = {number for number, block in enumerate(blocks) if block.startswith("![")}
    kept = [block for number, block in enumerate(blocks) if not {number, number + 1} & pictures]
    return "\n\n".join(kept).removeprefix("# ")


def push_data(processes: ProcessGroup, say: Log) -> None:
    """Pushes everything that the folder's dvc.lock and .dvc files name to the DVC remote.

    Raises StageError when the remote refuses; the data stays in the cache then.
    """
    try:
        processes.run(dvc_command("push"), say, PUSH_DEADLINE)
    except StageError as error:
        lines = str(error).splitlines()
        said = next((line for line in lines if line.startswith("ERROR: ")), lines[-1]).removeprefix("ERROR: ")
        raise StageError(f"the DVC remote refused it ({said}); nothing is lost, the data is in the cache") from None


def publish_refs(root: Path, branch: str | None, say: Log) -> None:
    """Pushes a branch, if one is named, then all release tags, to the git remote, where there is one.

    Raises UserError when it refuses; branch and tags stay here.
    """
    name = remote(root)
    if name is None:
        say("no git remote: branch and tags stay in this repository")
        return
    names = [tag for model in MODELS for kind in "@#" for tag, _ in tags(root, f"{model}{kind}*")]
    try:
        if branch:
            git(root, "push", "--quiet", name, f"refs/heads/{branch}:refs/heads/{branch}")
        if names:
            git(root, "push", "--quiet", name, *(f"refs/tags/{tag}" for tag in names))
    except GitError as error:
        raise UserError(
            f"{error}; nothing is lost: the data is in the DVC remote, {branch or 'the tags'} here. When {name} takes "
            f"them again: git push {name} {branch or ''} --tags"
        ) from None


def bundle_md5(root: Path, model: str, revision: str | None = None) -> str | None:
    """DVC's hash of the model's bundle in a commit, else in the folder; None where it has none."""
    if revision:
        text = git(root, "show", f"{revision}:{LOCK}")
    elif (root / LOCK).is_file():
        text = (root / LOCK).read_text(encoding="utf-8")
    else:
        return None
    stages = YAML(typ="safe").load(text).get("stages", {})
    outs = [out for stage in stages.values() for out in stage.get("outs", [])]
    return next((str(out["md5"]) for out in outs if out["path"] == f"data/bundle/{model}"), None)


def change(bundle: Path, before: Path | None) -> Change:
    """What a bundle is to whoever uses the one `before`.

    major: code that was written for that may fail with this, since noise, images, labels or a file are others. patch:
    every model file is the same, byte for byte, and something beside it changed. minor: all else.
    """
    if before is None:
        return "minor"
    now, then = _interface(bundle), _interface(before)
    if any(now.get(file) != promised for file, promised in then.items()):
        return "major"
    same = now.keys() == then.keys() and all(
        (bundle / name).read_bytes() == (before / name).read_bytes() for name in now
    )
    return "patch" if same else "minor"


def _interface(bundle: Path) -> dict[str, Any]:
    contract = json.loads((bundle / "contract.json").read_text(encoding="utf-8"))
    return {file: {name: one.get(name) for name in INTERFACE} for file, one in contract["models"].items()}
