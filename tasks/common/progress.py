"""How far a stage is, left as files for whoever watches it, in the folder that the environment names, if it names one.

They are views: nothing computes anything from them, and a stage that cannot leave them goes on without.
"""

import os
from functools import cache
from pathlib import Path

from tasks.common.files import write_bytes

VARIABLE = "IMAGEWRIGHT_PROGRESS"
PROGRESS, PICTURE = "progress.json", "picture.png"
CAPTION = "Description"  # the PNG text that says what the picture shows


class LiveFolder:
    """A folder of files that are replaced while a stage runs; where there is none, nothing is written."""

    def __init__(self, path: Path | None) -> None:
        self._path = path

    @property
    def wanted(self) -> bool:
        """Whether anybody may be watching."""
        return self._path is not None

    def leave(self, name: str, content: bytes) -> None:
        """Replaces one file by `content`; when that fails, it says so once and tries no more."""
        if self._path is None:
            return
        try:
            write_bytes(self._path / name, content)
        except OSError as error:
            print(f"progress is not shown, since {self._path} cannot be written ({error.strerror})", flush=True)
            self._path = None


@cache
def live_folder() -> LiveFolder:
    """The folder of this process's stage."""
    named = os.environ.get(VARIABLE)
    return LiveFolder(Path(named) if named else None)
