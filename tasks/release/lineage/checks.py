"""Compares a file, its contract and its lineage with git and dvc.lock, and returns a line for each check."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tasks.common.files import dvc_folder_hash
from tasks.release.lineage.collect import record_path
from tasks.release.lineage.history import History
from tasks.release.lineage.locks import DVC_LOCK, data_hashes, makers


@dataclass(frozen=True)
class Check:
    """The result of one check, with the end of its sentence for success and for failure."""

    subject: str
    good: bool
    right: str
    wrong: str

    def __str__(self) -> str:
        return f"{'ok  ' if self.good else 'FAIL'}  {self.subject} {self.right if self.good else self.wrong}"


def describes_file(file: str, sha256: str, lineage: Mapping[str, Any]) -> Check:
    """Checks that the lineage describes this file, by its hash."""
    good = any(one["sha256"] == sha256 for one in lineage["files"].values())
    wrong = f"describes other bytes than those of {file}; get the bundle again"
    return Check("lineage: it", good, f"describes these bytes of {file}", wrong)


def against_git(
    contract: Mapping[str, Any], lineage: Mapping[str, Any], text: bytes, history: History
) -> Iterator[Check]:
    """Compares a lineage and the contract inside the file with git and dvc.lock; `text` is that of lineage.json."""
    model, commit, tag = lineage["model"], lineage["commit"], f"{lineage['model']}@{lineage['version']}"
    exists = history.commit(commit) is not None
    yield Check(f"git: commit {commit[:10]}", exists, "exists", "is not in this clone; run `git fetch --tags`")
    if exists:
        tagged = history.show(tag, record_path(model))
        wrong = "has no lineage in this clone; run `git fetch --tags`" if tagged is None else "has another lineage"
        yield Check(f"git: {tag}", tagged == text, "has this lineage", wrong)
        yield from _dvc(model, commit, lineage, history)
        yield from _declared(model, commit, contract["hashes"], history)
        yield from _inputs(contract["hashes"], lineage)


def _dvc(model: str, commit: str, lineage: Mapping[str, Any], history: History) -> Iterator[Check]:
    stages, output = history.stages(commit), f"data/bundle/{model}"
    locked = data_hashes(stages, makers(stages, output))
    paths = sorted(locked.keys() | lineage["dvc"].keys())
    other = [path for path in paths if locked.get(path) != lineage["dvc"].get(path)]
    subject, wrong = f"DVC: {DVC_LOCK} of {commit[:10]}", f"has other hashes of {', '.join(other)}"
    yield Check(subject, not other, f"has the same {len(locked)} hashes", wrong)
    folder = dvc_folder_hash({name: one["md5"] for name, one in lineage["files"].items()})
    good = folder == locked.get(output)
    yield Check(subject, good, f"has these files in {output}", f"has other files in {output}")


def _declared(model: str, commit: str, hashes: Mapping[str, str], history: History) -> Iterator[Check]:
    for stage, prefix in ((f"train_{model}", ""), (f"export_{model}", "export_")):
        for what, value in zip(("code", "params"), history.inputs(commit, stage), strict=True):
            good, where = value == hashes.get(f"{prefix}{what}"), f"{stage} at {commit[:10]}"
            yield Check(f"{what}: the contract", good, f"agrees with {where}", f"differs from {where}")


def _inputs(hashes: Mapping[str, str], lineage: Mapping[str, Any]) -> Iterator[Check]:
    """Checks that the SHA-256 in the contract and the MD5 in dvc.lock are those of the same file."""
    for path, one in lineage["inputs"].items():
        what = "weights" if path.endswith(".safetensors") else "data"
        folder, _, name = path.rpartition("/")
        alone = dvc_folder_hash({name: one["md5"]})  # the hash of a folder that has no other file
        locked = lineage["dvc"].get(path) == one["md5"] or lineage["dvc"].get(folder) == alone
        right = "has the hashes of the contract and dvc.lock"
        wrong = "does not have the hashes of both the contract and dvc.lock"
        yield Check(f"{what}: {path}", one["sha256"] == hashes.get(what) and locked, right, wrong)
