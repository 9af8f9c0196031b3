"""A file, named in the environment, by which a command reports a user's mistake to the process that supervises it.

The supervisor learns of the mistake also where DVC runs the command and replaces its exit code.
"""

import os
from contextlib import suppress
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ValidationError

from tasks.common.files import write_json

VARIABLE = "IMAGEWRIGHT_MISTAKE"  # names the file
EXIT_CODE = 2


class Mistake(BaseModel, extra="forbid", frozen=True, strict=True):
    """What was wrong and what to do, in one sentence, and the exit code of the command."""

    kind: Literal["user error", "disk full"]
    sentence: str
    code: int = EXIT_CODE


def requested_file() -> Path | None:
    """Returns the file that the supervisor asked for, if any, and hides the request from this process's children."""
    path = os.environ.pop(VARIABLE, None)
    return Path(path) if path else None


def write_mistake(file: Path | None, mistake: Mistake) -> None:
    """Writes the file if one was requested; ignores a failure, because the exit code reports the mistake as well."""
    if file:
        with suppress(OSError):
            write_json(file, mistake.model_dump())


def read_mistake(file: Path) -> Mistake | None:
    """Returns the mistake that a command reported, or None if there is no valid file."""
    try:
        return Mistake.model_validate_json(file.read_bytes())
    except (OSError, ValidationError):
        return None
