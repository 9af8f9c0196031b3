"""Commits and pushes of a release.

Data goes to the DVC remote first, then the branch, then the tags, so that a visible tag always has its data.

What ships is data/release/MODEL: the stage's bundle and its lineage, which no stage can know. DVC tracks the folder,
and git its lineage, in a commit on top of the results that only the tags name. Branches do not get that commit, so the
outputs of the stages on them stay functions of their inputs.
"""

import json
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any

from flows.core.dag import dvc_command
from flows.core.git import GitError, commit_of, git, remote
from flows.core.processes import Log, Outcome, ProcessGroup, StageError, StageRun
from flows.release.registry import Change, Release, tags
from flows.ui.summary import RECORD
from tasks.common.errors import UserError
from tasks.common.model_names import MODELS
from tasks.common.paths import hold_lock
from tasks.export.contract import upgraded
from tasks.release.lineage.locks import DVC_LOCK, locked_stages

RELEASE = Path("data/release")
PUSH_DEADLINE, PACK_DEADLINE = 6 * 3600, 1800
INTERFACE = ("inputs", "outputs", "labels", "range", "noise_distribution")  # what the code of a consumer depends on


def release_lock(work: Path, log: Log) -> AbstractContextManager[None]:
    """Lets one run at a time compare its models with the live ones and replace them."""
    return hold_lock(work / "release.lock", "waiting for another run to release its models", log)


def commit_results(root: Path, branch: str, subject: str, body: str) -> str:
    """Commits the results of a run that git tracks on a new branch of the worktree `root`; returns the hash."""
    git(root, "switch", "--quiet", "--create", branch)
    git(root, "add", "--all", "--", *(name for name in RECORD if (root / name).exists()))
    git(root, "commit", "--quiet", "--allow-empty", "-m", subject, "-m", body)
    return commit_of(root, "HEAD")


def pack(
    processes: ProcessGroup, release: Release, parent: Release | None, run: str, decision: Path | None, log: Log
) -> None:
    """Makes data/release/MODEL in the worktree and adds it to DVC; `commit_release` follows after the push."""
    command = ["python", "-m", "tasks.release", release.model, "--version", release.version, "--run", run]
    command += ["--parent", parent.version] if parent else []
    command += ["--decision", str(decision)] if decision else []
    with suppress(GitError):  # without a key in git's configuration, the release is not signed
        command += ["--key", git(processes.root, "config", "--type=path", "imagewright.signingKey")]
    processes.run(command, log, PACK_DEADLINE)
    processes.run(dvc_command("add", "--quiet", str(RELEASE / release.model)), log, PACK_DEADLINE)


def commit_release(root: Path, packed: list[Release]) -> str:
    """Commits the .dvc files and lineages of the packed releases on no branch; returns the commit's hash."""
    git(root, "switch", "--quiet", "--detach")
    files = [str(RELEASE / f"{release.model}{suffix}") for release in packed for suffix in (".dvc", ".json")]
    git(root, "add", "--force", "--", *files)
    paragraphs = [f"Release {', '.join(map(str, packed))}", *(notes_of(root, release.model) for release in packed)]
    git(root, "commit", "--quiet", *(part for paragraph in paragraphs for part in ("-m", paragraph)))
    return commit_of(root, "HEAD")


def notes_of(root: Path, model: str) -> str:
    """Returns the release notes without images and their captions, which a git message cannot show."""
    text = (root / RELEASE / model / "RELEASE.md").read_text(encoding="utf-8")
    blocks = text.rstrip("\n").split("\n\n")
    images = {number for number, block in enumerate(blocks) if block.startswith("![")}
    kept = [block for number, block in enumerate(blocks) if not {number, number + 1} & images]
    return "\n\n".join(kept).removeprefix("# ")


def push_data(processes: ProcessGroup, log: Log) -> StageRun:
    """Pushes everything that the worktree's dvc.lock and .dvc files name to the DVC remote.

    Raises StageError when the remote refuses; the data is still in the cache then.
    """
    try:
        processes.run(dvc_command("push"), log, PUSH_DEADLINE)
    except StageError as error:
        reason = dvc_reason(error)
        raise StageError(f"the DVC remote refused the push ({reason}); the data is still in DVC's cache") from None
    return StageRun("push", Outcome.RAN)


def dvc_reason(error: StageError) -> str:
    """Returns the first line that DVC marks as an error, else its last line."""
    lines = str(error).splitlines()
    return next((line for line in lines if line.startswith("ERROR: ")), lines[-1]).removeprefix("ERROR: ")


def publish_refs(root: Path, branch: str | None, log: Log) -> None:
    """Pushes a branch, if one is given, then all release tags, to the git remote, if there is one.

    Raises UserError when the remote refuses; branch and tags then stay in this repository.
    """
    name = remote(root)
    if name is None:
        log("no git remote: branch and tags stay in this repository")
        return
    names = [tag for model in MODELS for kind in "@#" for tag, _ in tags(root, f"{model}{kind}*")]
    try:
        if branch:
            git(root, "push", "--quiet", name, f"refs/heads/{branch}:refs/heads/{branch}")
        if names:
            git(root, "push", "--quiet", name, *(f"refs/tags/{tag}" for tag in names))
    except GitError as error:
        raise UserError(
            f"{error}; nothing is lost: the data is in the DVC remote, {branch or 'the tags'} in {root}. When {name} "
            f"accepts them again, run git push {name} {branch or ''} --tags"
        ) from None


def bundle_md5(root: Path, model: str, revision: str | None = None) -> str | None:
    """Returns DVC's hash of the model's bundle in a commit, by default in the folder; None without a bundle."""
    file = root / DVC_LOCK
    if not revision and not file.is_file():
        return None
    text = git(root, "show", f"{revision}:{DVC_LOCK}") if revision else file.read_text(encoding="utf-8")
    outs = [out for stage in locked_stages(text).values() for out in stage.get("outs", [])]
    return next((str(out["md5"]) for out in outs if out["path"] == f"data/bundle/{model}"), None)


def change(bundle: Path, before: Path | None) -> Change:
    """Classifies the change from the bundle `before` for semantic versioning.

    major: code written for `before` may fail, because inputs, outputs, labels, range, noise or a file differ. patch:
    every model file is the same, byte for byte. minor: all other changes, and a first bundle.
    """
    if before is None:
        return "minor"
    new, old = _interface(bundle), _interface(before)
    if any(new.get(file) != interface for file, interface in old.items()):
        return "major"
    same = all((bundle / name).read_bytes() == (before / name).read_bytes() for name in old)
    return "patch" if same and new.keys() == old.keys() else "minor"


def _interface(bundle: Path) -> dict[str, Any]:
    contract = json.loads((bundle / "contract.json").read_text(encoding="utf-8"))
    models = {file: upgraded(model) for file, model in contract["models"].items()}
    return {file: {key: model.get(key) for key in INTERFACE} for file, model in models.items()}
