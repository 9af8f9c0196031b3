"""The registry of releases: git tags in the format of GTO (iterative/gto), which `dvc artifacts get` reads.

`gan@v1.2.0` registers a version at a commit, `gan#live#3` is the third assignment of the stage `live`, and
`gan@v1.2.0!` deprecates a version.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import gto.api
from packaging.version import Version

from flows.core.git import git
from tasks.common.errors import UserError
from tasks.common.model_names import MODELS

Stage = Literal["live", "candidate"]
Change = Literal["major", "minor", "patch"]

COMMIT = "%(if)%(*objectname)%(then)%(*objectname)%(else)%(objectname)%(end)"  # of an annotated tag or a plain one


@dataclass(frozen=True)
class Release:
    """A registered version of a model, and its commit."""

    model: str
    version: str
    commit: str

    def __str__(self) -> str:
        return f"{self.model}@{self.version}"


def releases(root: Path, model: str) -> list[Release]:
    """Returns the registered versions of a model that are not deprecated, oldest first."""
    excluded = deprecated(root, model)
    return [release for release in _registered(root, model) if release.version not in excluded]


def deprecated(root: Path, model: str) -> dict[str, str]:
    """Returns the deprecated versions and the reasons."""
    found = tags(root, f"{model}@v*!", "%(contents:subject)")
    return {tag.removeprefix(f"{model}@").removesuffix("!"): reason for tag, reason in found}


def live(root: Path, model: str) -> Release | None:
    """Returns the live release, or None."""
    return next(reversed(live_history(root, model)), None)


def live_history(root: Path, model: str) -> list[Release]:
    """Returns the releases that were made live, in order and with repetitions."""
    by_commit = {release.commit: release for release in _registered(root, model)}
    assigned = sorted((int(tag.rpartition("#")[2]), commit) for tag, commit in tags(root, f"{model}#live#*"))
    return [by_commit[commit] for _, commit in assigned if commit in by_commit]


def find_release(root: Path, name: str) -> Release:
    """Returns the release with a name like `gan@v1.0.0`; raises UserError with a list if there is no such release."""
    known = [release for model in MODELS for release in _registered(root, model)]
    found = next((release for release in known if str(release) == name), None)
    if found is None:
        names = ", ".join(map(str, known)) or "none yet; `git fetch --tags` fetches those of others"
        problem = f"`{name}` is not a release" if name else "name a release, for example gan@v1.0.0"
        raise UserError(f"{problem}; the releases are: {names}")
    return found


def register(root: Path, release: Release, notes: str) -> None:
    """Tags a version, with its release notes as the message."""
    gto.api.register(root, release.model, ref=release.commit, version=release.version, message=notes)


def assign(root: Path, release: Release, stage: Stage = "live", message: str = "") -> None:
    """Assigns a stage to a version."""
    message = message or f"{release} is {stage}"
    gto.api.assign(root, release.model, stage=stage, version=release.version, message=message, force=True)


def deprecate(root: Path, release: Release, reason: str) -> None:
    """Deprecates a version: `gto show` omits it and nothing rolls back to it; its tag and its data stay.

    Raises UserError when it is live or deprecated already.
    """
    if release == live(root, release.model):
        raise UserError(f"{release} is live; make another version live first: imagewright rollback {release.model}")
    if release.version in deprecated(root, release.model):
        raise UserError(f"{release} is deprecated already; nothing was changed")
    gto.api.deregister(root, release.model, version=release.version, message=reason)


def roll_back(root: Path, model: str, version: str | None) -> tuple[Release, Release]:
    """Makes `version`, or by default the previous live version, live again; returns the new and the old live release.

    Raises UserError when there is no such version, or no previous one.
    """
    history, known = live_history(root, model), {release.version: release for release in releases(root, model)}
    if not history:
        raise UserError(f"no version of {model} is live, so there is nothing to roll back; release one first")
    now = history[-1]
    if version is None:
        previous = [release for release in history if release != now and release.version in known]
        if not previous:
            raise UserError(f"{now} is the only version of {model} that was ever live; name another version")
        target = previous[-1]
    elif version in known:
        target = known[version]
    else:
        reason = deprecated(root, model).get(version)
        problem = f"{model}@{version} is deprecated ({reason})" if reason else f"{model} has no version {version}"
        raise UserError(f"{problem}; choose one of {', '.join(known)}")
    if target == now:
        raise UserError(f"{now} is live already; name another version")
    assign(root, target)
    return target, now


def next_version(root: Path, model: str, change: Change) -> str:
    """Returns the number of the next version; the number of a deprecated version is not used again."""
    known = _registered(root, model)
    if not known:
        return "v1.0.0"
    major, minor, patch = Version(known[-1].version).release
    numbers = {"major": (major + 1, 0, 0), "minor": (major, minor + 1, 0), "patch": (major, minor, patch + 1)}
    return "v" + ".".join(map(str, numbers[change]))


def tags(root: Path, pattern: str, field: str = COMMIT) -> list[tuple[str, str]]:
    """Returns the tags that match a glob pattern, with their commits or another field of git's."""
    lines = git(root, "for-each-ref", f"--format=%(refname:strip=2) {field}", f"refs/tags/{pattern}").splitlines()
    return [(tag, value) for tag, _, value in (line.partition(" ") for line in lines)]


def _registered(root: Path, model: str) -> list[Release]:
    found = [(tag.partition("@")[2], commit) for tag, commit in tags(root, f"{model}@v*") if not tag.endswith("!")]
    return [Release(model, *version) for version in sorted(found, key=lambda version: Version(version[0]))]
