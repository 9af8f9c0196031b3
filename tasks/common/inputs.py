"""The inputs that a stage declares in dvc.yaml; their hash identifies checkpoints, receipts and a model's origin."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from tasks.common.errors import UserError
from tasks.common.files import digest, sha256_file, sha256_tree

PIPELINE_FILE = Path("dvc.yaml")


@dataclass(frozen=True)
class Inputs:
    """Declared inputs of a stage: parameter values by dotted key, SHA-256 of code and of data by path."""

    params: dict[str, Any]
    code: dict[str, str]
    data: dict[str, str]

    @property
    def key(self) -> str:
        """Hex SHA-256 of all inputs."""
        return digest(asdict(self))


def stage_inputs(stage: str) -> Inputs:
    """Resolves the inputs of `stage`; raises UserError when the stage, a parameter or a file is missing."""
    yaml = YAML(typ="safe")
    stages = yaml.load(PIPELINE_FILE.read_text(encoding="utf-8"))["stages"]
    if stage not in stages:
        raise UserError(f"{PIPELINE_FILE} has no stage `{stage}`; its stages are {', '.join(stages)}")
    values = yaml.load(Path("params.yaml").read_text(encoding="utf-8"))
    params = {key: value_at(values, key) for key in stages[stage].get("params", [])}
    if missing := ", ".join(key for key, value in params.items() if value is None):
        raise UserError(f"params.yaml lacks {missing}, which stage `{stage}` of {PIPELINE_FILE} reads; add it")
    hashes = {path: _hash(Path(path)) for path in stages[stage]["deps"]}
    code = {path: hash_ for path, hash_ in hashes.items() if path.endswith(".py")}
    return Inputs(params, code, data={path: hash_ for path, hash_ in hashes.items() if path not in code})


def value_at(tree: Any, key: str) -> Any:
    """Returns the value at a dotted key in nested dicts, or None where there is no such key."""
    for part in key.split("."):
        tree = tree.get(part) if isinstance(tree, dict) else None
    return tree


def _hash(path: Path) -> str:
    if path.is_dir():
        manifest = path / "manifest.json"  # contains the hashes of all other files in the folder
        return sha256_file(manifest) if manifest.is_file() else digest(sha256_tree(path))
    if not path.is_file():
        raise UserError(f"{path} is missing; run the stage that makes it (`make repro` runs them all)")
    return sha256_file(path)
