"""Library versions as requirements.lock has them: what a run is meant to use, whoever runs it."""

import re
from pathlib import Path

from tasks.common.errors import UserError

LOCK = Path("requirements.lock")
PINNED = re.compile(r"(?m)^([A-Za-z0-9._-]+)==([^\s;\\]+)")


def locked_versions(lock: Path = LOCK) -> dict[str, list[str]]:
    """Every package that the lock file names, with its version, or those of several Pythons.

    Raises UserError when there is no lock file.
    """
    if not lock.is_file():
        raise UserError(f"{lock} is missing; `git checkout {lock}` brings it back")
    found: dict[str, list[str]] = {}
    for name, version in PINNED.findall(lock.read_text(encoding="utf-8")):
        found.setdefault(name.lower(), []).append(version)
    return found
