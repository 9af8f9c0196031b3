"""Reads dvc.lock: the stages that made an output, and the hashes of their inputs and outputs."""

from collections.abc import Collection, Mapping
from pathlib import PurePosixPath
from typing import Any

from ruamel.yaml import YAML

DVC_LOCK = "dvc.lock"
Stages = Mapping[str, Any]


def locked_stages(text: str) -> Stages:
    """Returns the stages of a dvc.lock."""
    stages: Stages = (YAML(typ="safe").load(text) or {}).get("stages", {})
    return stages


def makers(stages: Stages, output: str) -> list[str]:
    """Returns the stages that an output depends on, in the order of dvc.lock."""
    found: set[str] = set()
    waiting = [PurePosixPath(output)]
    while waiting:
        path = waiting.pop()
        for name, stage in stages.items():
            if name not in found and any(path.is_relative_to(one["path"]) for one in stage.get("outs", [])):
                found.add(name)
                waiting += [PurePosixPath(one["path"]) for one in stage.get("deps", [])]
    return [name for name in stages if name in found]


def data_hashes(stages: Stages, names: Collection[str]) -> dict[str, str]:
    """Returns DVC's hash of all data that these stages read and wrote, by path."""
    entries = [one for name in names for side in ("deps", "outs") for one in stages[name].get(side, [])]
    return {one["path"]: one["md5"] for one in entries if one["path"].startswith("data/")}
