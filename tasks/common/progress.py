"""Files by which a running stage shows its progress, in the folder that an environment variable names, if any.

No result depends on them, and a stage that cannot write them continues without.
"""

import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tasks.common.files import write_bytes

VARIABLE = "IMAGEWRIGHT_PROGRESS"
PROGRESS, PICTURE = "progress.json", "picture.png"
CAPTION = "Description"  # the PNG text chunk with the picture's caption


@dataclass
class ProgressFolder:
    """A folder of files that are replaced while a stage runs; without a path nothing is written."""

    path: Path | None

    def write(self, name: str, content: bytes) -> None:
        """Replaces one file by `content`; after the first failure it prints a line and writes no more."""
        try:
            if self.path:
                write_bytes(self.path / name, content)
        except OSError as error:
            print(f"progress is not shown, since {self.path} cannot be written ({error.strerror})", flush=True)
            self.path = None


@cache
def progress_folder() -> ProgressFolder:
    """Returns the folder of this process's stage."""
    path = os.environ.get(VARIABLE)
    return ProgressFolder(Path(path) if path else None)
