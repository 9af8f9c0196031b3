"""Releases in git: tags in the form of GTO (iterative/gto), written by it; `dvc artifacts get` understands them.

`gan@v1.2.0` registers a version at a commit, `gan#live#3` is the third time that the stage `live` was assigned. Data
goes to the DVC remote first, then the branch, then the tags: a tag that somebody sees has its data.
"""

import json
import re
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gto.api
from ruamel.yaml import YAML

from flows.dag import dvc_command
from flows.git import GitError, commit_of, git, remote
from flows.stages import Crew, Say, StageError
from flows.summary import RECORD
from tasks.errors import UserError
from tasks.workplace import in_turn

LIVE, MODELS = "live", ("gan", "vae")
LOCK = "dvc.lock"
PUSH_DEADLINE = 6 * 3600
INTERFACE = ("inputs", "outputs", "labels", "range", "noise_law")  # what a consumer's code rests on


@dataclass(frozen=True)
class Release:
    """A registered version of a model, and the commit that has it."""

    model: str
    version: str
    commit: str

    def __str__(self) -> str:
        return f"{self.model}@{self.version}"


def releases(root: Path, model: str) -> list[Release]:
    """The registered versions of a model, oldest first."""
    found = [Release(model, tag.partition("@")[2], commit) for tag, commit in _tags(root, f"{model}@v*")]
    return sorted(found, key=lambda release: _numbers(release.version))


def live(root: Path, model: str) -> Release | None:
    """What was made live last, or None."""
    history = live_history(root, model)
    return history[-1] if history else None


def live_history(root: Path, model: str) -> list[Release]:
    """What was live, one after the other; a version that was made live again appears again."""
    by_commit = {release.commit: release for release in releases(root, model)}
    assigned = sorted((int(tag.rpartition("#")[2]), commit) for tag, commit in _tags(root, f"{model}#{LIVE}#*"))
    return [by_commit[commit] for _, commit in assigned if commit in by_commit]


def release_lock(work: Path, say: Say) -> AbstractContextManager[None]:
    """One run at a time compares with what is live and takes its place."""
    return in_turn(work / "release.lock", "waiting for another run to release its models", say)


def commit_results(root: Path, branch: str, subject: str, body: str) -> str:
    """Commits what git keeps of a run in the worktree `root`, on a new branch; returns the commit's hash."""
    git(root, "switch", "--quiet", "--create", branch)
    git(root, "add", "--all", "--", *(name for name in RECORD if (root / name).exists()))
    git(root, "commit", "--quiet", "--allow-empty", "-m", subject, "-m", body)
    return commit_of(root, "HEAD")


def push_data(crew: Crew, say: Say) -> None:
    """Pushes everything that the folder's dvc.lock names to the DVC remote.

    Raises StageError when the remote refuses; the data stays in the cache then.
    """
    try:
        crew.run(dvc_command("push"), say, PUSH_DEADLINE)
    except StageError as error:
        lines = str(error).splitlines()
        said = next((line for line in lines if line.startswith("ERROR: ")), lines[-1]).removeprefix("ERROR: ")
        raise StageError(f"the DVC remote refused it ({said}); nothing is lost, the data is in the cache") from None


def register(root: Path, model: str, commit: str, breaking: bool, say: Say) -> Release:
    """Registers the next version of a model at `commit` and makes it live.

    The major number rises where the change is `breaking` for a consumer, else the minor one. A commit that is
    registered already keeps its version.
    """
    before, known_ones = live(root, model), releases(root, model)
    known = next((release for release in known_ones if release.commit == commit), None)
    if known is None:
        version = _next_version(known_ones, breaking)
        gto.api.register(root, model, ref=commit, version=version, message=f"Release {model} {version}")
        known = Release(model, version, commit)
    if before != known:
        make_live(root, known)
    say(f"{known} is live" + (f" in the place of {before}" if before else ""))
    return known


def make_live(root: Path, release: Release) -> None:
    """Assigns the stage `live`."""
    gto.api.assign(root, release.model, stage=LIVE, version=release.version, force=True)


def roll_back(root: Path, model: str, version: str | None) -> tuple[Release, Release]:
    """Makes an earlier version live again: the one named, or what was live before; returns what is live and what was.

    Raises UserError where there is no such version, or nothing to go back to.
    """
    history, known = live_history(root, model), {release.version: release for release in releases(root, model)}
    if not history:
        raise UserError(f"no version of {model} is live, so there is nothing to roll back")
    now = history[-1]
    if version is None:
        target = next((release for release in reversed(history) if release != now), None)
        if target is None:
            raise UserError(f"{now} is the only version of {model} that was ever live; name another version")
    elif version not in known:
        raise UserError(f"{model} has no version {version}; it has {', '.join(known)}")
    else:
        target = known[version]
    if target == now:
        raise UserError(f"{now} is live already")
    make_live(root, target)
    return target, now


def publish_refs(root: Path, branch: str | None, say: Say) -> None:
    """Pushes a branch, if one is named, then all release tags, to the git remote, where there is one.

    Raises UserError when it refuses; branch and tags stay here.
    """
    name = remote(root)
    if name is None:
        say("no git remote: branch and tags stay in this repository")
        return
    tags = [tag for model in MODELS for kind in "@#" for tag, _ in _tags(root, f"{model}{kind}*")]
    try:
        if branch:
            git(root, "push", "--quiet", name, f"refs/heads/{branch}:refs/heads/{branch}")
        if tags:
            git(root, "push", "--quiet", name, *(f"refs/tags/{tag}" for tag in tags))
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


def is_breaking(bundle: Path, before: Path | None) -> bool:
    """Whether code that was written for the bundle `before` may fail with this one: other noise, images or labels."""
    return before is not None and _interface(bundle) != _interface(before)


def _interface(bundle: Path) -> dict[str, Any]:
    contract = json.loads((bundle / "contract.json").read_text(encoding="utf-8"))
    return {file: {name: one.get(name) for name in INTERFACE} for file, one in contract["models"].items()}


def _next_version(known: list[Release], breaking: bool) -> str:
    if not known:
        return "v1.0.0"
    major, minor, _ = _numbers(known[-1].version)
    return f"v{major + 1}.0.0" if breaking else f"v{major}.{minor + 1}.0"


def _numbers(version: str) -> tuple[int, int, int]:
    major, minor, patch = map(int, re.fullmatch(r"v(\d+)\.(\d+)\.(\d+)", version).groups())  # type: ignore[union-attr]
    return major, minor, patch


def _tags(root: Path, pattern: str) -> list[tuple[str, str]]:
    """Tags and the commits that they stand for."""
    form = "%(refname:strip=2) %(if)%(*objectname)%(then)%(*objectname)%(else)%(objectname)%(end)"
    lines = git(root, "for-each-ref", f"--format={form}", f"refs/tags/{pattern}").splitlines()
    return [(tag, commit) for tag, commit in (line.split(" ") for line in lines)]
