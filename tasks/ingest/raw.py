"""data/raw and its manifest: which files were taken in, by name and hash."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

from pydantic import BaseModel, ConfigDict, ValidationError

from tasks.common.cli import progress
from tasks.common.errors import UserError
from tasks.common.files import sha256_file, write_json

RAW = Path("data/raw")
MANIFEST = "manifest.json"
MANY = 1000  # files; fewer are checked before progress could be read
JUNK = {"thumbs.db", "desktop.ini", "__macosx", "__pycache__"}
ACCEPT = (
    "`python -m tasks.ingest --accept` takes data/raw in as it stands, "
    "and without data/raw `python -m tasks.ingest` brings back what was pinned"
)


class RawManifest(BaseModel):
    """What data/raw holds: its source, SHA-256 by POSIX path, and the names of the labels where a data set has them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: str
    files: dict[str, str]
    labels: list[str] | None = None


def is_junk(name: str) -> bool:
    """Whether any part of a POSIX path is hidden, or is what Windows, macOS or Python leave in folders."""
    return any(part.startswith(".") or part.lower() in JUNK for part in PurePosixPath(name).parts)


def file_names(folder: Path) -> list[str]:
    """POSIX paths of all files below `folder`, relative to it, sorted; the manifest itself is left out."""
    paths = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return sorted(name for name in paths if name != MANIFEST)


def hash_files(folder: Path, names: list[str], hash_file: Callable[[Path], str] = sha256_file) -> dict[str, str]:
    """Hashes of the files `names` below `folder`, by name; read in parallel, since hashing lets other threads run."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        hashes = pool.map(hash_file, [folder / name for name in names])
        shown = progress(hashes, len(names), "checking", "files") if len(names) >= MANY else hashes
        return dict(zip(names, shown, strict=True))


def take_stock(folder: Path, source: str, labels: list[str] | None) -> RawManifest:
    """Lists and hashes what `folder` holds; raises UserError when that is nothing, or has a name that is no text."""
    names = file_names(folder)
    if not names:
        raise UserError("there are no files to take in; give a folder or an archive of images")
    for name in names:
        if any("\ud800" <= character <= "\udfff" for character in name):  # bytes that are no UTF-8
            raise UserError(f"the file name {name!r} is not UTF-8 text; rename that file and run this again")
    return RawManifest(source=source, files=hash_files(folder, names), labels=labels)


def write_manifest(folder: Path, manifest: RawManifest) -> None:
    """Writes the manifest into `folder`."""
    write_json(folder / MANIFEST, manifest.model_dump(exclude_none=True))


def read_manifest(folder: Path = RAW) -> RawManifest:
    """The manifest of `folder`; raises UserError when the folder or its manifest is missing or damaged."""
    if not folder.is_dir():
        raise UserError(f"{folder} is missing; `make data` fills it, or `python -m tasks.ingest SOURCE` another way")
    path = folder / MANIFEST
    if not path.is_file():
        raise UserError(f"{folder} has no {MANIFEST}, so it was filled by hand; {ACCEPT}")
    try:
        return RawManifest.model_validate_json(path.read_bytes())
    except ValidationError:
        raise UserError(f"{path} is damaged or was edited by hand; {ACCEPT}") from None


def check_raw(folder: Path = RAW) -> RawManifest:
    """The manifest of `folder` once every file was compared with it; raises UserError naming what differs."""
    manifest = read_manifest(folder)
    names = file_names(folder)
    lost, new = sorted(set(manifest.files) - set(names)), sorted(set(names) - set(manifest.files))
    hashes = {} if lost or new else hash_files(folder, names)
    changed = sorted(name for name, hash_ in hashes.items() if hash_ != manifest.files[name])
    for found, words in ((lost, "is missing"), (new, "is new"), (changed, "was changed")):
        if found:
            more = f" (as {'is' if len(found) == 2 else 'are'} {len(found) - 1:,} more)" if len(found) > 1 else ""
            raise UserError(f"{folder / found[0]} {words}{more} since ingest took {folder} in; {ACCEPT}")
    return manifest
