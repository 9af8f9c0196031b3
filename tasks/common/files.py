"""Hashes, JSON, and atomic writes: whatever interrupts a write, its target has the old content or the new."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from tasks.common.errors import UserError


def sha256_bytes(data: bytes) -> str:
    """Returns the hex SHA-256 of `data`."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path) -> str:
    """Returns the hex SHA-256 of a file's content, which it reads in blocks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_tree(folder: Path, *, without: frozenset[str] = frozenset()) -> dict[str, str]:
    """Returns the hex SHA-256 of every file below `folder`, sorted by relative POSIX path, except `without`."""
    files = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    return {name: sha256_file(path) for name, path in files.items() if name not in without}


def md5_file(path: Path) -> str:
    """Returns DVC's hash of a file: the hex MD5 of its content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def dvc_folder_hash(files: Mapping[str, str]) -> str:
    """Returns DVC's hash of a folder from its files' MD5 by relative POSIX path.

    It is the MD5 of a JSON list, sorted by path (dvc.org/doc/user-guide, "Internal directories and files").
    """
    entries = json.dumps([{"md5": md5, "relpath": name} for name, md5 in sorted(files.items())], sort_keys=True)
    return f"{hashlib.md5(entries.encode(), usedforsecurity=False).hexdigest()}.dir"


def canonical(value: object) -> bytes:
    """Returns `value` as JSON with sorted keys and no spaces, so that equal values give equal bytes."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def digest(value: object) -> str:
    """Returns the hex SHA-256 of a value in canonical JSON."""
    return sha256_bytes(canonical(value))


def read_json(path: Path) -> Any:
    """Returns the value in a JSON file; raises UserError when the file is missing or damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} is missing; run the stage that makes it (`make repro` runs them all)") from None
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}); delete it and run the stage that makes it again") from None


def write_json(path: Path, value: object) -> None:
    """Replaces `path` atomically by `value` as indented JSON with sorted keys."""
    text = json.dumps(value, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False)
    write_bytes(path, f"{text}\n".encode())


def write_bytes(path: Path, data: bytes) -> None:
    """Replaces `path` atomically by a file that contains `data`."""
    with replacing(path) as beside:
        beside.write_bytes(data)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a temporary path for a new file or folder, which replaces `path` when the block succeeds.

    A file is replaced by one rename. A folder needs two, and the old folder comes back if the second one fails. If the
    block raises, the new content is removed and `path` stays as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{uuid4().hex[:8]}.tmp")
    try:
        yield beside
        _swap(beside, path)
    finally:
        remove(beside)


def _swap(new: Path, path: Path) -> None:
    if not (new.is_dir() and path.is_dir()):
        os.replace(new, path)
        return
    old = new.with_suffix(".old")
    os.replace(path, old)
    try:
        os.replace(new, path)
    except OSError:
        os.replace(old, path)
        raise
    shutil.rmtree(old)


def remove(path: Path) -> None:
    """Deletes a file or a whole folder if it exists."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
