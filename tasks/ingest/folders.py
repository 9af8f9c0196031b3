"""Taking in a folder: its regular files, copied."""

import os
import shutil
from pathlib import Path

from tasks.common.cli import progress
from tasks.common.errors import UserError
from tasks.ingest.raw import MANIFEST, is_junk


def copy_folder(source: Path, target: Path) -> None:
    """Copies the files below `source` to `target`; hidden files and what systems leave in folders stay behind.

    A link to a file is copied as the file; a link to a folder is not followed. Raises UserError when a file may not
    be read.
    """
    names, left = _listed(source)
    if left:
        print(f"left out: {left:,} hidden or system files, links to folders, or things that are no files", flush=True)
    for name in progress(names, len(names), "copying", "files"):
        path = target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            shutil.copyfile(source / name, path)
        except PermissionError as error:
            raise UserError(f"{error.filename} may not be read; change its permissions and run this again") from None


def _listed(source: Path) -> tuple[list[str], int]:
    names, left = [], 0
    for folder, subfolders, files in os.walk(source):
        here = Path(folder)
        left += sum((here / name).is_symlink() for name in subfolders)
        subfolders[:] = [name for name in subfolders if not is_junk(name)]
        for path in (here / name for name in files):
            name = path.relative_to(source).as_posix()
            if name != MANIFEST and not is_junk(name) and path.is_file():
                names.append(name)
            elif name != MANIFEST:
                left += 1
    return sorted(names), left
