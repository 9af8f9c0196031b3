"""What a stage declares as its inputs in dvc.yaml, resolved to hashes: parameters, code and data.

They name a checkpoint, a receipt and, inside a contract, where a model came from.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from tasks.common.errors import UserError
from tasks.common.files import digest, sha256_file, sha256_tree

PIPELINE_FILE = Path("dvc.yaml")


@dataclass(frozen=True)
class Inputs:
    """Declared inputs of a stage: parameter values by key, SHA-256 of code and of data by path."""

    params: dict[str, Any]
    code: dict[str, str]
    data: dict[str, str]

    @property
    def key(self) -> str:
        """Hex SHA-256 over everything declared."""
        return digest(asdict(self))


def stage_inputs(stage: str) -> Inputs:
    """Resolves the inputs of `stage`; raises UserError when dvc.yaml has no such stage or a file is missing."""
    yaml = YAML(typ="safe")
    stages = yaml.load(PIPELINE_FILE.read_text(encoding="utf-8"))["stages"]
    if stage not in stages:
        raise UserError(f"{PIPELINE_FILE} has no stage `{stage}`; it has {', '.join(stages)}")
    values = yaml.load(Path("params.yaml").read_text(encoding="utf-8"))
    deps = [Path(dep) for dep in stages[stage]["deps"]]
    return Inputs(
        params={key: _value(values, key) for key in stages[stage].get("params", [])},
        code={dep.as_posix(): _hash(dep) for dep in deps if dep.suffix == ".py"},
        data={dep.as_posix(): _hash(dep) for dep in deps if dep.suffix != ".py"},
    )


def _value(values: dict[str, Any], key: str) -> Any:
    for part in key.split("."):
        values = values[part]
    return values


def _hash(path: Path) -> str:
    if path.is_dir():
        manifest = path / "manifest.json"  # lists the hashes of everything beside it
        return sha256_file(manifest) if manifest.is_file() else digest(sha256_tree(path))
    if not path.is_file():
        raise UserError(f"{path} is missing; run the stage that makes it (`make repro` runs them all)")
    return sha256_file(path)
