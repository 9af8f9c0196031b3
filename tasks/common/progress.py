"""Files by which a running stage shows its progress, in the folder that an environment variable names, if any.

No result depends on them, and a stage that cannot write them continues without.
"""

import os
from functools import cache
from pathlib import Path

from tasks.common.files import write_bytes

VARIABLE = "IMAGEWRIGHT_PROGRESS"
PROGRESS, PICTURE = "progress.json", "picture.png"
CAPTION = "Description"  # the PNG text chunk with the picture's caption


class ProgressFolder:
    """A folder of files that are replaced while a stage runs; without a path nothing is written."""

    def __init__(self, path: Path | None) -> None:
        self._path = path

    @property
    def enabled(self) -> bool:
        """Whether files are written."""
        return self._path is not None

    def write(self, name: str, content: bytes) -> None:
        """Replaces one file by `content`; after the first failure it prints a line and writes no more."""
        if self._path is None:
            return
        try:
            write_bytes(self._path / name, content)
        except OSError as error:
            print(f"progress is not shown, since {self._path} cannot be written ({error.strerror})", flush=True)
            self._path = None


@cache
def progress_folder() -> ProgressFolder:
    """Returns the folder of this process's stage."""
    path = os.environ.get(VARIABLE)
    return ProgressFolder(Path(path) if path else None)
