"""The registry of releases: tags in the form of GTO (iterative/gto), written by it; `dvc artifacts get` reads them.

`gan@v1.2.0` registers a version at a commit, `gan#live#3` is the third time that the stage `live` was assigned, and
`gan@v1.2.0!` takes a version back.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import gto.api

from flows.core.git import git
from tasks.common.errors import UserError
from tasks.common.model_names import MODELS

Stage = Literal["live", "candidate"]
Change = Literal["major", "minor", "patch"]


@dataclass(frozen=True)
class Release:
    """A registered version of a model, and the commit that has it."""

    model: str
    version: str
    commit: str

    def __str__(self) -> str:
        return f"{self.model}@{self.version}"


def releases(root: Path, model: str) -> list[Release]:
    """The registered versions of a model, oldest first, without those that were deprecated."""
    gone = deprecated(root, model)
    return [release for release in _registered(root, model) if release.version not in gone]


def deprecated(root: Path, model: str) -> dict[str, str]:
    """The versions that were taken back, and why."""
    form = "%(refname:strip=2) %(contents:subject)"
    lines = git(root, "for-each-ref", f"--format={form}", f"refs/tags/{model}@v*!").splitlines()
    pairs = (line.partition(" ") for line in lines)
    return {tag.removeprefix(f"{model}@").removesuffix("!"): why for tag, _, why in pairs}


def live(root: Path, model: str) -> Release | None:
    """What was made live last, or None."""
    history = history_of(root, model, "live")
    return history[-1] if history else None


def history_of(root: Path, model: str, stage: Stage) -> list[Release]:
    """What a stage was assigned to, one after the other; what was assigned again appears again."""
    by_commit = {release.commit: release for release in _registered(root, model)}
    assigned = sorted((int(tag.rpartition("#")[2]), commit) for tag, commit in tags(root, f"{model}#{stage}#*"))
    return [by_commit[commit] for _, commit in assigned if commit in by_commit]


def find_release(root: Path, name: str) -> Release:
    """The release that `gan@v1.0.0` names; raises UserError when there is none, with those that there are."""
    model, _, version = name.partition("@")
    known = [release for one in MODELS for release in _registered(root, one)]
    found = next((release for release in known if (release.model, release.version) == (model, version)), None)
    if found is None:
        names = ", ".join(map(str, known)) or "none yet; `git fetch --tags` gets those of others"
        raise UserError(f"{f'`{name}` is no release' if name else 'name a release, as gan@v1.0.0'}; there are {names}")
    return found


def register(root: Path, release: Release, notes: str) -> None:
    """Tags a version, with its release notes as the message."""
    gto.api.register(root, release.model, ref=release.commit, version=release.version, message=notes)


def assign(root: Path, release: Release, stage: Stage = "live", because: str = "") -> None:
    """Assigns a stage to a version."""
    message = because or f"{release} is {stage}"
    gto.api.assign(root, release.model, stage=stage, version=release.version, message=message, force=True)


def deprecate(root: Path, release: Release, because: str) -> None:
    """Takes a version back: `gto show` leaves it out and nothing rolls back to it; its tag and its data stay.

    Raises UserError when it is live, or was taken back before.
    """
    if release == live(root, release.model):
        raise UserError(f"{release} is live; make another version live first: python -m flows rollback {release.model}")
    if release.version in deprecated(root, release.model):
        raise UserError(f"{release} is deprecated already")
    gto.api.deregister(root, release.model, version=release.version, message=because)


def roll_back(root: Path, model: str, version: str | None) -> tuple[Release, Release]:
    """Makes an earlier version live again: the one named, or what was live before; returns what is live and what was.

    Raises UserError where there is no such version, or nothing to go back to.
    """
    history, known = history_of(root, model, "live"), {one.version: one for one in releases(root, model)}
    if not history:
        raise UserError(f"no version of {model} is live, so there is nothing to roll back")
    target, now = _earlier(root, model, version, history, known), history[-1]
    if target == now:
        raise UserError(f"{now} is live already")
    assign(root, target)
    return target, now


def _earlier(
    root: Path, model: str, version: str | None, history: Sequence[Release], known: dict[str, Release]
) -> Release:
    if version is None:
        good = [release for release in history if release != history[-1] and release.version in known]
        if not good:
            raise UserError(f"{history[-1]} is the only version of {model} that was ever live; name another version")
        return good[-1]
    if version not in known:
        why = deprecated(root, model).get(version)
        gone = f"{model}@{version} was deprecated ({why})" if why else f"{model} has no version {version}"
        raise UserError(f"{gone}; it has {', '.join(known)}")
    return known[version]


def next_version(root: Path, model: str, change: Change) -> str:
    """The number of the next version: those that were taken back are not given out again."""
    known = _registered(root, model)
    if not known:
        return "v1.0.0"
    major, minor, patch = _numbers(known[-1].version)
    numbers = {"major": (major + 1, 0, 0), "minor": (major, minor + 1, 0), "patch": (major, minor, patch + 1)}
    return "v" + ".".join(map(str, numbers[change]))


def tags(root: Path, pattern: str) -> list[tuple[str, str]]:
    """Tags and the commits that they stand for."""
    form = "%(refname:strip=2) %(if)%(*objectname)%(then)%(*objectname)%(else)%(objectname)%(end)"
    lines = git(root, "for-each-ref", f"--format={form}", f"refs/tags/{pattern}").splitlines()
    return [(tag, commit) for tag, commit in (line.split(" ") for line in lines)]


def _registered(root: Path, model: str) -> list[Release]:
    found = [Release(model, tag.partition("@")[2], commit) for tag, commit in tags(root, f"{model}@v*")]
    return sorted((one for one in found if not one.version.endswith("!")), key=lambda one: _numbers(one.version))


def _numbers(version: str) -> tuple[int, int, int]:
    major, minor, patch = map(int, re.fullmatch(r"v(\d+)\.(\d+)\.(\d+)", version).groups())  # type: ignore[union-attr]
    return major, minor, patch
