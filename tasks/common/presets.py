"""`imagewright preset NAME [--force]` writes a preset's values into params.yaml.

It keeps the file's comments, prints every change, and overwrites values that a person set by hand only with --force.
"""

import argparse
import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from tasks.common.cli import run
from tasks.common.errors import UserError
from tasks.common.files import write_bytes
from tasks.common.inputs import value_at
from tasks.common.params import PARAMS_FILE, check_params

HERE = Path()


def preset_names(root: Path = HERE) -> list[str]:
    """Returns the names of the presets of the project at `root`, sorted."""
    return sorted(path.stem for path in (root / "presets").glob("*.yaml"))


def preset_values(root: Path, name: str) -> dict[str, Any]:
    """Returns a preset's values by dotted key."""
    return dict(flatten(_read(root / "presets" / f"{name}.yaml")))


def flatten(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yields (dotted key, value) for every value in nested mappings."""
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def update_params(root: Path, values: Mapping[str, Any]) -> list[str]:
    """Writes values by dotted key into `root`/params.yaml and keeps its comments; returns `key: old -> new` lines.

    Raises UserError, and leaves the file as it was, if the result is not valid.
    """
    file = root / PARAMS_FILE
    content = _read(file)
    changes = []
    for key, new in values.items():
        if (old := value_at(content, key)) != new:
            section, _, name = key.rpartition(".")
            (value_at(content, section) if section else content)[name] = new
            changes.append(f"{key}: {old} -> {new}")
    if changes:
        text = io.StringIO()
        _yaml().dump(content, text)
        check_params(YAML(typ="safe").load(text.getvalue()), f"{file} would not be valid")
        write_bytes(file, text.getvalue().encode())
    return changes


def apply_preset(name: str, force: bool) -> list[str]:
    """Writes the values of presets/NAME.yaml into params.yaml; returns the changes as `key: old -> new`.

    Raises UserError if there is no such preset, if the result is not valid, and, without `force`, if it would overwrite
    a value that no preset has, because a person must have set it.
    """
    presets = {preset: preset_values(HERE, preset) for preset in preset_names()}
    if name not in presets:
        raise UserError(f"there is no preset `{name}`; choose one of {', '.join(presets)}")
    params = _read(PARAMS_FILE)
    current = {key: value_at(params, key) for key in presets[name]}
    by_hand = [key for key, value in current.items() if all(value != preset.get(key) for preset in presets.values())]
    if by_hand and not force:
        listed = ", ".join(f"{key} ({current[key]})" for key in by_hand)
        raise UserError(f"preset `{name}` would overwrite what was set by hand in {PARAMS_FILE}: {listed}; use FORCE=1")
    return update_params(HERE, presets[name])


def _yaml() -> YAML:
    yaml = YAML()
    yaml.width = 120
    yaml.indent(mapping=2, sequence=4, offset=2)
    return yaml


def _read(path: Path) -> Any:
    return _yaml().load(path.read_text(encoding="utf-8"))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", help="the preset: quick, classic or full")
    parser.add_argument("--force", action="store_true", help="overwrite values that a person set by hand")
    arguments = parser.parse_args()

    def main() -> None:
        changes = apply_preset(arguments.name, arguments.force)
        print(f"preset {arguments.name}: {len(changes)} values changed in {PARAMS_FILE}", *changes, sep="\n  ")

    run(main)
