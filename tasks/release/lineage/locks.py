"""dvc.lock: which stages made an output, and the hashes that DVC gave to what they read and wrote."""

from collections.abc import Collection, Mapping
from typing import Any

from ruamel.yaml import YAML

DVC_LOCK = "dvc.lock"

Stages = Mapping[str, Any]


def locked_stages(text: str) -> Stages:
    """The stages of a dvc.lock."""
    stages: Stages = (YAML(typ="safe").load(text) or {}).get("stages", {})
    return stages


def makers(stages: Stages, output: str) -> list[str]:
    """The stages that an output rests on, in dvc.lock's order."""
    found: set[str] = set()
    waiting = [output]
    while waiting:
        path = waiting.pop()
        for name, stage in stages.items():
            if name not in found and any(_holds(one["path"], path) for one in stage.get("outs", [])):
                found.add(name)
                waiting += [one["path"] for one in stage.get("deps", [])]
    return [name for name in stages if name in found]


def data_hashes(stages: Stages, names: Collection[str]) -> dict[str, str]:
    """DVC's hash of all data that these stages read and wrote, by path."""
    entries = [one for name in names for side in ("deps", "outs") for one in stages[name].get(side, [])]
    return {one["path"]: one["md5"] for one in entries if one["path"].startswith("data/")}


def _holds(folder: str, path: str) -> bool:
    return path == folder or path.startswith(f"{folder}/")
