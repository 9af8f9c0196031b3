"""lineage.json: what no content tells of a release. It is written when a bundle is released, outside of every stage's
outputs, and names the files that it speaks of by their hashes.
"""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tasks.common.errors import UserError
from tasks.common.files import md5_file, read_json, sha256_file
from tasks.common.inputs import stage_inputs
from tasks.common.paths import work_folder
from tasks.gate.record import GateRecord
from tasks.release.lineage.history import History
from tasks.release.lineage.locks import DVC_LOCK, data_hashes, locked_stages, makers

LINEAGE = "lineage.json"
KEPT = ("began", "seconds", "peak_mib", "machine", "facts")  # of a stage's receipt


@dataclass(frozen=True)
class Occasion:
    """A release: whose, which version, what it replaces, in which run, and the gate's record where it was asked."""

    model: str
    version: str
    parent: str | None = None
    run: str | None = None
    decision: GateRecord | None = None

    @property
    def record(self) -> str:
        """Where the lineage stands in git, in the commit that the release's tag names."""
        return record_path(self.model)


def record_path(model: str) -> str:
    """Where a model's lineage stands in a release's commit."""
    return f"data/release/{model}.json"


def collect(occasion: Occasion) -> dict[str, Any]:
    """The lineage of data/bundle/MODEL in the current folder, whose last commit has the results.

    Raises UserError where dvc.lock does not name that bundle.
    """
    history, output = History(Path()), f"data/bundle/{occasion.model}"
    commit = history.commit("HEAD")
    stages = locked_stages((history.show("HEAD", DVC_LOCK) or b"").decode())
    names = makers(stages, output)
    if not names:
        raise UserError(f"the last commit's {DVC_LOCK} has no {output}; commit the results of a run first")
    return {
        "format": 1,
        "model": occasion.model,
        "version": occasion.version,
        "released": datetime.now(UTC).isoformat(timespec="seconds"),
        "run": occasion.run,
        "commit": commit,
        "parent": _parent(history, occasion),
        "files": {path.name: _hashes(path) for path in sorted(Path(output).iterdir())},
        "inputs": {path.as_posix(): _hashes(path) for path in _inputs(occasion.model) if path.is_file()},
        "dvc": data_hashes(stages, names),
        "stages": {name: _receipt(name) for name in names},
        "gate": occasion.decision.quoted().model_dump(mode="json") if occasion.decision else None,
    }


def _inputs(model: str) -> tuple[Path, Path]:
    """What a contract names by SHA-256 and dvc.lock by MD5."""
    return Path("data/prepared/manifest.json"), Path("data/weights") / model / "weights.safetensors"


def _hashes(path: Path) -> dict[str, str]:
    return {"sha256": sha256_file(path), "md5": md5_file(path)}


def _parent(history: History, occasion: Occasion) -> dict[str, Any] | None:
    """The release that this one replaces, with the hash of its model where it has a lineage of its own."""
    if occasion.parent is None:
        return None
    tag = f"{occasion.model}@{occasion.parent}"
    known = json.loads(history.show(tag, occasion.record) or b"{}")
    model = known.get("files", {}).get(f"{occasion.model}.onnx", {})
    return {"version": occasion.parent, "commit": history.commit(tag), "sha256": model.get("sha256")}


def _receipt(stage: str) -> dict[str, Any] | None:
    """What ran where, and for how long; None where it ran on another machine, or before receipts were kept."""
    file = work_folder() / "receipts" / stage / f"{stage_inputs(stage).key}.json"
    return {key: value for key, value in read_json(file).items() if key in KEPT} if file.is_file() else None
