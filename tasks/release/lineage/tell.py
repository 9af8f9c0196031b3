"""The two parts of an answer: what an .onnx file says itself, and what lineage.json says of it."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from tasks.common.errors import UserError
from tasks.common.files import sha256_file
from tasks.export.contract import read_contract
from tasks.export.provenance import trained_with_text
from tasks.gate.record import GateDecision
from tasks.release.lineage.collect import LINEAGE, record_path
from tasks.release.lineage.history import History

PROVENANCE = ("hashes", "images", "quarantined", "libraries")  # what contracts of every version have
ALL = {"released", "run", "parent", "dvc", "stages", "gate"}
NAME, VERSION, COMMIT = re.compile(r"[a-z]+"), re.compile(r"v\d+\.\d+\.\d+"), re.compile(r"[0-9a-f]{40}")

Line = tuple[str, str]


def contract_of(path: Path) -> dict[str, Any]:
    """The contract inside a file; raises UserError when it is no file, is cut short, or is not ours."""
    if not path.is_file():
        raise UserError(f"{path} is not there; name an .onnx file, such as data/bundle/gan/gan.onnx")
    try:
        model = onnx.load(path, load_external_data=False)
    except DecodeError:
        raise UserError(f"{path} is no ONNX file, or was cut short; get it again") from None
    contract = read_contract(model, path)
    try:
        good = NAME.fullmatch(contract["model"]) and {"file", *PROVENANCE} <= contract.keys()
        trained_with_text(contract.get("trained_with"))
    except (ValueError, KeyError, TypeError, AttributeError):
        good = None
    if not good:
        raise UserError(f"{path} carries a contract that was made by another version, or is damaged; get it again")
    return contract


def told_by_file(contract: Mapping[str, Any]) -> Iterator[Line]:
    """What follows from content."""
    yield "file", f"{contract['file']} of the model {contract['model']}"
    for name, value in sorted(contract["hashes"].items()):
        yield name.replace("_", " "), f"sha256 {value}"
    yield "images", ", ".join(f"{count:,} {split}" for split, count in contract["images"].items())
    left_out = ", ".join(f"{count:,} {reason}" for reason, count in sorted(contract["quarantined"].items()))
    yield "left out", left_out or "none"
    yield "trained with", trained_with_text(contract.get("trained_with"))
    yield "exported with", ", ".join(f"{name} {version}" for name, version in contract["libraries"].items())


def find_lineage(path: Path, model: str, history: History) -> tuple[str, bytes] | None:
    """Where a file's lineage was found, and its text: beside the file, or in a clone at the tag of its release."""
    beside = path.with_name(LINEAGE)
    if beside.is_file():
        return str(beside), beside.read_bytes()
    sha256 = sha256_file(path)
    for tag in history.tags(model) if history.exists else []:
        text = history.show(tag, record_path(model))
        if text and any(one["sha256"] == sha256 for one in parse(text, tag)["files"].values()):
            return tag, text
    return None


def parse(text: bytes, where: str) -> dict[str, Any]:
    """A lineage; raises UserError when it is damaged, also where a name that git is asked for could be an option."""
    try:
        lineage: dict[str, Any] = json.loads(text)
        names = NAME.fullmatch(lineage["model"]) and VERSION.fullmatch(lineage["version"])
        hashed = all({"sha256", "md5"} <= one.keys() for part in ("files", "inputs") for one in lineage[part].values())
        good = names and COMMIT.fullmatch(lineage["commit"]) and hashed and lineage.keys() >= ALL
        _decision(lineage)
    except (ValueError, KeyError, TypeError, AttributeError):
        good = None
    if not good:
        raise UserError(f"the lineage of {where} is damaged; get the bundle again")
    return lineage


def told_by_lineage(lineage: Mapping[str, Any]) -> Iterator[Line]:
    """What no content tells: commit, times, machines, what it replaced and who let it."""
    yield "release", f"{lineage['model']}@{lineage['version']} at {lineage['released']}"
    yield "commit", str(lineage["commit"])
    yield "run", lineage["run"] or "by hand"
    parent = lineage["parent"]
    yield "replaces", f"{parent['version']} ({parent['commit'][:10]})" if parent else "nothing"
    yield "gate", _gate(_decision(lineage))
    for stage, receipt in lineage["stages"].items():
        yield stage, _ran(receipt) if receipt else "no receipt: its result came from another machine, or from a cache"


def _decision(lineage: Mapping[str, Any]) -> GateDecision | None:
    """What the gate decided; raises pydantic's ValidationError, a ValueError, where that is damaged."""
    return None if lineage["gate"] is None else GateDecision.model_validate(lineage["gate"])


def _gate(gate: GateDecision | None) -> str:
    if gate is None:
        return "not asked"
    override = gate.override
    word = f"refused; {override.by} let it through: {override.because}" if override else gate.decision
    return "; ".join([word, *gate.reasons])


def _ran(receipt: Mapping[str, Any]) -> str:
    machine, mode = receipt["machine"], receipt["facts"].get("mode")
    parts = [f"{receipt['began'][:19]}, {receipt['seconds']:,.0f} s", f"{machine['host']} ({machine['processor']})"]
    if machine.get("gpu"):
        parts.append(f"{machine['gpu']}, driver {machine['driver']}")
    return ", ".join([*parts, mode] if mode else parts)
