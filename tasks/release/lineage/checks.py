"""A file, its contract and its lineage against git and dvc.lock: a line for each check."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tasks.common.files import dvc_folder_hash
from tasks.release.lineage.collect import record_path
from tasks.release.lineage.history import History
from tasks.release.lineage.locks import DVC_LOCK, data_hashes, locked_stages, makers


@dataclass(frozen=True)
class Check:
    """One finding: whether it is as it should be, in a sentence."""

    good: bool
    sentence: str

    def __str__(self) -> str:
        return f"{'ok  ' if self.good else 'FAIL'}  {self.sentence}"


def bound(file: str, sha256: str, lineage: Mapping[str, Any]) -> Check:
    """Whether the lineage speaks of this very file."""
    if any(one["sha256"] == sha256 for one in lineage["files"].values()):
        return Check(True, f"lineage: it speaks of these bytes of {file}")
    return Check(False, f"lineage: it speaks of other bytes than those of {file}; get the bundle again")


def against_git(
    contract: Mapping[str, Any], lineage: Mapping[str, Any], text: bytes, history: History
) -> Iterator[Check]:
    """What git and dvc.lock say of a lineage and of the contract inside the file; `text` is lineage.json's."""
    model, commit, tag = lineage["model"], lineage["commit"], f"{lineage['model']}@{lineage['version']}"
    if history.commit(commit) is None:
        yield Check(
            False, f"git: no commit {commit[:10]} here; `git fetch --tags`, or this clone is of another project"
        )
        return
    yield Check(True, f"git: commit {commit[:10]} exists")
    tagged = history.show(tag, record_path(model))
    if tagged is None:
        yield Check(False, f"git: no tag {tag} with a lineage; `git fetch --tags`")
    else:
        yield _same(f"git: {tag}", tagged == text, "has this lineage", "has another lineage")
    yield from _dvc(model, commit, lineage, history)
    yield from _declared(model, commit, contract["hashes"], history)
    yield from _inputs(contract["hashes"], lineage)


def _dvc(model: str, commit: str, lineage: Mapping[str, Any], history: History) -> Iterator[Check]:
    stages = locked_stages((history.show(commit, DVC_LOCK) or b"").decode())
    output = f"data/bundle/{model}"
    named = data_hashes(stages, makers(stages, output))
    other = sorted(path for path in named.keys() | lineage["dvc"].keys() if named.get(path) != lineage["dvc"].get(path))
    words = f"DVC: {DVC_LOCK} of {commit[:10]}"
    yield _same(words, not other, f"names the same {len(named)} hashes", f"names other hashes of {', '.join(other)}")
    folder = dvc_folder_hash({name: one["md5"] for name, one in lineage["files"].items()})
    yield _same(words, folder == named.get(output), f"has these files in {output}", f"has other files in {output}")


def _declared(model: str, commit: str, hashes: Mapping[str, str], history: History) -> Iterator[Check]:
    for stage, prefix in ((f"train_{model}", ""), (f"export_{model}", "export_")):
        code, params = history.inputs(commit, stage)
        for what, now in (("code", code), ("params", params)):
            promised = hashes.get(f"{prefix}{what}")
            yield _same(f"{what}: {stage}'s at {commit[:10]}", now == promised, "is the contract's", "is another")


def _inputs(hashes: Mapping[str, str], lineage: Mapping[str, Any]) -> Iterator[Check]:
    """The SHA-256 in the contract and the MD5 in dvc.lock are of the same file."""
    for path, one in lineage["inputs"].items():
        what = "weights" if path.endswith(".safetensors") else "data"
        folder, _, name = path.rpartition("/")
        lone = dvc_folder_hash({name: one["md5"]})  # of a folder that has no other file
        locked = lineage["dvc"].get(path) == one["md5"] or lineage["dvc"].get(folder) == lone
        good = one["sha256"] == hashes.get(what) and locked
        yield _same(f"{what}: {path}", good, "is what contract and dvc.lock name", "is not what both name")


def _same(subject: str, good: bool, fine: str, wrong: str) -> Check:
    return Check(good, f"{subject} {fine if good else wrong}")
