"""Reads the contract of an .onnx file and its lineage.json, and describes both in lines."""

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

PROVENANCE = {"file", "hashes", "images", "quarantined", "libraries"}  # keys of contracts of every version
REQUIRED = {"released", "run", "parent", "dvc", "stages", "gate"}
NAME, VERSION, COMMIT = re.compile(r"[a-z]+"), re.compile(r"v\d+\.\d+\.\d+"), re.compile(r"[0-9a-f]{40}")
Line = tuple[str, str]  # a name and its value


def contract_of(path: Path) -> dict[str, Any]:
    """Returns the contract in a file; raises UserError when the file is missing, damaged, or of another project."""
    if not path.is_file():
        raise UserError(f"{path} does not exist; name an .onnx file, such as data/bundle/gan/gan.onnx")
    try:
        model = onnx.load(path, load_external_data=False)
    except DecodeError:
        raise UserError(f"{path} is not an ONNX file, or was cut short; get it again") from None
    contract = read_contract(model, path)
    try:
        good = NAME.fullmatch(contract["model"]) and contract.keys() >= PROVENANCE
        trained_with_text(contract.get("trained_with"))
    except (ValueError, KeyError, TypeError, AttributeError):
        good = None
    if not good:
        raise UserError(f"{path} carries a contract that was made by another version, or is damaged; get it again")
    return contract


def contract_lines(contract: Mapping[str, Any]) -> Iterator[Line]:
    """Yields what the contract says: the hashes and counts of the data, and the libraries."""
    yield "file", f"{contract['file']} of the model {contract['model']}"
    for name, value in sorted(contract["hashes"].items()):
        yield name.replace("_", " "), f"sha256 {value}"
    yield "images", ", ".join(f"{count:,} {split}" for split, count in contract["images"].items())
    rejected = ", ".join(f"{count:,} {reason}" for reason, count in sorted(contract["quarantined"].items()))
    yield "rejected", rejected or "none"
    yield "trained with", trained_with_text(contract.get("trained_with"))
    yield "exported with", ", ".join(f"{name} {version}" for name, version in contract["libraries"].items())


def find_lineage(path: Path, model: str, history: History) -> tuple[str, bytes] | None:
    """Returns where a file's lineage is and its text: beside the file, or in a clone at the tag of its release."""
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
    """Returns a lineage; raises UserError when it is damaged, or has names that git could take for options."""
    try:
        lineage: dict[str, Any] = json.loads(text)
        names = NAME.fullmatch(lineage["model"]) and VERSION.fullmatch(lineage["version"])
        hashed = all({"sha256", "md5"} <= one.keys() for part in ("files", "inputs") for one in lineage[part].values())
        good = names and COMMIT.fullmatch(lineage["commit"]) and hashed and lineage.keys() >= REQUIRED
        _decision(lineage)
    except (ValueError, KeyError, TypeError, AttributeError):
        good = None
    if not good:
        raise UserError(f"the lineage in {where} is damaged; get the bundle again")
    return lineage


def lineage_lines(lineage: Mapping[str, Any]) -> Iterator[Line]:
    """Yields what the lineage says: commit, run, the replaced release, the gate's decision, and where stages ran."""
    yield "release", f"{lineage['model']}@{lineage['version']} at {lineage['released']}"
    yield "commit", str(lineage["commit"])
    yield "run", lineage["run"] or "none"
    parent = lineage["parent"]
    yield "replaces", f"{parent['version']} ({parent['commit'][:10]})" if parent else "nothing"
    yield "gate", _gate(_decision(lineage))
    for stage, receipt in lineage["stages"].items():
        yield stage, _ran(receipt) if receipt else "no receipt: the result came from another machine or from a cache"


def _decision(lineage: Mapping[str, Any]) -> GateDecision | None:
    """Returns the gate's decision; raises pydantic's ValidationError, a ValueError, where it is damaged."""
    return None if lineage["gate"] is None else GateDecision.model_validate(lineage["gate"])


def _gate(gate: GateDecision | None) -> str:
    if gate is None:
        return "not asked"
    override = gate.override
    decision = f"refused; {override.by} overrode it: {override.because}" if override else gate.decision
    return "; ".join([decision, *gate.reasons])


def _ran(receipt: Mapping[str, Any]) -> str:
    machine, mode = receipt["machine"], receipt["facts"].get("mode")
    parts = [f"{receipt['began'][:19]}, {receipt['seconds']:,.0f} s", f"{machine['host']} ({machine['processor']})"]
    if machine.get("gpu"):
        parts.append(f"{machine['gpu']}, driver {machine['driver']}")
    return ", ".join([*parts, mode] if mode else parts)
