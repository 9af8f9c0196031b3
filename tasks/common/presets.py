"""`python -m tasks.common.presets NAME [--force]` writes a preset's values into params.yaml, openly: comments stay, the
difference is printed, and values that somebody set by hand are not lost without being asked for.
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
from tasks.common.params import PARAMS_FILE, check_params

HERE = Path()


def preset_names(root: Path = HERE) -> list[str]:
    """The presets of the project at `root`."""
    return sorted(path.stem for path in (root / "presets").glob("*.yaml"))


def preset_values(root: Path, name: str) -> dict[str, Any]:
    """A preset's values by dotted key."""
    return dict(_leaves(_read(root / "presets" / f"{name}.yaml")))


def rewrite(root: Path, values: Mapping[str, Any]) -> list[str]:
    """Writes values by dotted key into `root`/params.yaml, comments kept; returns the changes as `key: old -> new`.

    Raises UserError, and leaves the file alone, where the result is not valid.
    """
    file = root / PARAMS_FILE
    content = _read(file)
    changes = {key: (old, new) for key, new in values.items() if (old := _get(content, key)) != new}
    for key, (_, new) in changes.items():
        _set(content, key, new)
    if changes:
        _write(file, content)
    return [f"{key}: {old} -> {new}" for key, (old, new) in changes.items()]


def apply_preset(name: str, force: bool) -> list[str]:
    """Overlays presets/NAME.yaml on params.yaml; returns the changes as `key: old -> new`.

    Raises UserError for an unknown name, for a result that is not valid, and, without `force`, where a value to be
    overwritten comes from no preset, which means that a person wrote it.
    """
    names = preset_names()
    if name not in names:
        raise UserError(f"there is no preset `{name}`; choose one of {', '.join(names)}")
    overlays = {known: preset_values(HERE, known) for known in names}
    values = _read(PARAMS_FILE)
    changed = [key for key, new in overlays[name].items() if _get(values, key) != new]
    by_hand = [key for key in changed if all(_get(values, key) != other.get(key) for other in overlays.values())]
    if by_hand and not force:
        listed = ", ".join(f"{key} ({_get(values, key)})" for key in by_hand)
        raise UserError(f"preset `{name}` would overwrite what was set by hand in {PARAMS_FILE}: {listed}; use FORCE=1")
    return rewrite(HERE, overlays[name])


def _yaml() -> YAML:
    yaml = YAML()
    yaml.width = 120
    yaml.indent(mapping=2, sequence=4, offset=2)
    return yaml


def _read(path: Path) -> Any:
    return _yaml().load(path.read_text(encoding="utf-8"))


def _write(file: Path, values: Any) -> None:
    text = io.StringIO()
    _yaml().dump(values, text)
    check_params(YAML(typ="safe").load(text.getvalue()), f"{file} would not be valid")
    write_bytes(file, text.getvalue().encode())


def _leaves(tree: Any, above: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value


def _get(tree: Any, key: str) -> Any:
    for part in key.split("."):
        tree = tree.get(part, {})
    return tree


def _set(tree: Any, key: str, value: Any) -> None:
    *above, last = key.split(".")
    for part in above:
        tree = tree[part]
    tree[last] = value


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", help="quick, classic or full")
    parser.add_argument("--force", action="store_true", help="overwrite values that were set by hand")
    given = parser.parse_args()

    def main() -> None:
        changes = apply_preset(given.name, given.force)
        print(f"preset {given.name}: {len(changes)} values changed in {PARAMS_FILE}")
        print("".join(f"  {change}\n" for change in changes), end="")

    run(main)
