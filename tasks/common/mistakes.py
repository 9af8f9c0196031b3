"""A person's mistake as a file: a command leaves it where its supervisor asked for it, beside its sentence for people.

By it a supervisor tells a mistake from a fault, even where DVC stands between and has an exit code of its own; nobody
reads what a command prints for that.
"""

import os
from contextlib import suppress
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from tasks.common.files import write_json

VARIABLE = "IMAGEWRIGHT_MISTAKE"  # names the file
EXIT_CODE = 2


class Mistake(BaseModel):
    """What was wrong and what to do, in one sentence, and the exit code with which the command ended."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    kind: Literal["user error", "disk full"]
    sentence: str
    code: int = EXIT_CODE


def file_asked_for() -> Path | None:
    """Where this process is to leave its mistake, None where nobody asked; its own children are not asked then."""
    named = os.environ.pop(VARIABLE, None)
    return Path(named) if named else None


def leave_mistake(file: Path | None, mistake: Mistake) -> None:
    """Writes the file, if one was asked for; what cannot be written is left out, for the exit code says it as well."""
    if file:
        with suppress(OSError):
            write_json(file, mistake.model_dump())


def read_mistake(file: Path) -> Mistake | None:
    """The mistake that a command left, or None."""
    try:
        return Mistake.model_validate_json(file.read_bytes())
    except (OSError, ValidationError):
        return None
