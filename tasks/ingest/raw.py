"""data/raw and its manifest, which lists the ingested files by name and hash."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

from pydantic import BaseModel, ValidationError

from tasks.common.cli import progress
from tasks.common.errors import UserError
from tasks.common.files import sha256_file, write_json

RAW = Path("data/raw")
MANIFEST = "manifest.json"
MANY = 1000  # files; hashing fewer is too fast for a progress bar
JUNK = {"thumbs.db", "desktop.ini", "__macosx", "__pycache__"}
REMEDY = "`imagewright data --accept` pins data/raw as it is, "
REMEDY += "and without data/raw `imagewright data` restores what was pinned"


class RawManifest(BaseModel, extra="forbid", frozen=True):
    """Content of data/raw: its source, SHA-256 by POSIX path, and the labels' names where the data set has them."""

    source: str
    files: dict[str, str]
    labels: list[str] | None = None


def is_junk(name: str) -> bool:
    """Returns whether a part of a POSIX path is hidden or a name that Windows, macOS or Python leave in folders."""
    return any(part.startswith(".") or part.lower() in JUNK for part in PurePosixPath(name).parts)


def file_names(folder: Path) -> list[str]:
    """Returns the relative POSIX paths of all files below `folder` but the manifest, sorted."""
    paths = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return sorted(name for name in paths if name != MANIFEST)


def hash_files(folder: Path, names: list[str], hash_file: Callable[[Path], str] = sha256_file) -> dict[str, str]:
    """Returns the hash of each file of `names` below `folder`; uses threads, because hashing releases the GIL."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        hashes = pool.map(hash_file, [folder / name for name in names])
        shown = progress(hashes, len(names), "checking", "files") if len(names) >= MANY else hashes
        return dict(zip(names, shown, strict=True))


def build_manifest(folder: Path, source: str, labels: list[str] | None) -> RawManifest:
    """Lists and hashes the files of `folder`; raises UserError if there is none or a name is not valid UTF-8."""
    names = file_names(folder)
    if not names:
        raise UserError("there are no files to ingest; give a folder or an archive of images")
    for name in names:
        if any("\ud800" <= character <= "\udfff" for character in name):  # surrogates stand for invalid bytes
            raise UserError(f"the file name {name!r} is not UTF-8 text; rename that file and run this again")
    return RawManifest(source=source, files=hash_files(folder, names), labels=labels)


def write_manifest(folder: Path, manifest: RawManifest) -> None:
    """Writes the manifest into `folder`."""
    write_json(folder / MANIFEST, manifest.model_dump(exclude_none=True))


def read_manifest(folder: Path = RAW) -> RawManifest:
    """Returns the manifest of `folder`; raises UserError when the folder or its manifest is missing or damaged."""
    if not folder.is_dir():
        raise UserError(f"{folder} is missing; `make data` fills it, or `imagewright data SOURCE` another way")
    path = folder / MANIFEST
    if not path.is_file():
        raise UserError(f"{folder} has no {MANIFEST}, so it was filled by hand; {REMEDY}")
    try:
        return RawManifest.model_validate_json(path.read_bytes())
    except ValidationError:
        raise UserError(f"{path} is damaged or was edited by hand; {REMEDY}") from None


def check_raw(folder: Path = RAW) -> RawManifest:
    """Compares all files of `folder` with its manifest and returns it; raises UserError that names a difference."""
    manifest = read_manifest(folder)
    names = file_names(folder)
    missing, new = sorted(set(manifest.files) - set(names)), sorted(set(names) - set(manifest.files))
    hashes = {} if missing or new else hash_files(folder, names)
    changed = sorted(name for name, hash_ in hashes.items() if hash_ != manifest.files[name])
    for files, fault in ((missing, "is missing"), (new, "is new"), (changed, "was changed")):
        if files:
            others = f" (and {len(files) - 1:,} more)" if len(files) > 1 else ""
            raise UserError(f"{folder / files[0]} {fault}{others} since {folder} was ingested; {REMEDY}")
    return manifest
