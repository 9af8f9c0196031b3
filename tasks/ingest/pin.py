"""data/raw.dvc, DVC's record of data/raw: reading it, writing it, and getting back what it pins."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from ruamel.yaml import YAML

from tasks.common.errors import UserError
from tasks.common.files import remove, replacing, write_bytes
from tasks.ingest.raw import MANIFEST, RAW, file_names, hash_files

PIN = Path("data/raw.dvc")


@dataclass(frozen=True)
class Pin:
    """The folder hash that data/raw.dvc records, how many files it covers, and the source ingest noted there."""

    md5: str
    files: int
    source: str


def read_pin() -> Pin | None:
    """What data/raw.dvc pins, or None when there is no such file; raises UserError when it is damaged."""
    if not PIN.is_file():
        return None
    try:
        content = YAML(typ="safe").load(PIN.read_text(encoding="utf-8"))
        out = content["outs"][0]
        return Pin(str(out["md5"]), int(out["nfiles"]), str((content.get("meta") or {}).get("source", "folder")))
    except Exception as error:  # whatever YAML and its values can do wrong means the same here
        words = " ".join(str(error).split())
        raise UserError(f"{PIN} is damaged ({words}); `git checkout {PIN}` brings it back") from None


def tree_md5(folder: Path) -> str:
    """DVC's hash of a folder: MD5 of the JSON list of its files' MD5 and POSIX path, sorted by path, plus `.dir`.

    The format is the one of the `.dir` objects in DVC's cache (dvc.org/doc/user-guide, "Internal directories").
    """
    names = sorted([*file_names(folder), *([MANIFEST] if (folder / MANIFEST).is_file() else [])])
    entries = [{"md5": md5, "relpath": name} for name, md5 in hash_files(folder, names, _md5_file).items()]
    return hashlib.md5(json.dumps(entries, sort_keys=True).encode()).hexdigest() + ".dir"


def _md5_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


def dvc(*arguments: str) -> str:
    """Runs a DVC command, waiting for another's lock; returns what it printed, raises UserError with its complaint."""
    command = [sys.executable, "-m", "dvc", "--wait-for-lock", *arguments]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        lines = [line.removeprefix("ERROR: ") for line in done.stderr.splitlines() if line and "<http" not in line]
        raise UserError(f"`dvc {' '.join(arguments)}` failed: {' '.join(lines)}")
    return done.stdout


def add(source: str) -> None:
    """Runs `dvc add data/raw` and notes `source` beside the hash, so that a fresh clone knows what to fetch."""
    dvc("add", str(RAW))
    yaml = YAML()
    content = yaml.load(PIN.read_text(encoding="utf-8"))
    content["meta"] = {"source": source}
    with replacing(PIN) as beside:
        yaml.dump(content, beside)
    found, recorded = len(file_names(RAW)) + 1, int(content["outs"][0]["nfiles"])
    if recorded != found:
        raise UserError(
            f"DVC recorded {recorded:,} of {found:,} files in {RAW}; .dvcignore must leave none of them out"
        )


def install(new: Path, source: str) -> None:
    """Puts the folder `new` in the place of data/raw and pins it; if that fails, both are as they were before."""
    with _raw_unchanged_on_failure() as aside:
        if RAW.exists():
            RAW.replace(aside)
        new.replace(RAW)
        add(source)


@contextmanager
def unchanged_on_failure(path: Path) -> Iterator[None]:
    """Gives the file `path` its old content back, or removes a new one, if the block fails."""
    before = path.read_bytes() if path.is_file() else None
    try:
        yield
    except BaseException:
        if before is None:
            remove(path)
        else:
            write_bytes(path, before)
        raise


@contextmanager
def _raw_unchanged_on_failure() -> Iterator[Path]:
    """Gives a place to move or link data/raw to; if the block fails it comes back from there."""
    was_there = RAW.exists()
    with unchanged_on_failure(PIN), TemporaryDirectory(dir=RAW.parent, prefix=".raw.old.") as scratch:
        aside = Path(scratch) / RAW.name
        try:
            yield aside
        except BaseException:
            if aside.exists() or not was_there:
                remove(RAW)
            if aside.exists():
                aside.replace(RAW)
            raise


def bring_back(pinned: Pin) -> bool:
    """Fills data/raw from DVC's cache, else from its remote; says whether it now is what was pinned.

    Where DVC fails, data/raw stays as it was: DVC itself deletes the folder before it finds its cache empty.
    """
    if _tried("cache", "checkout", pinned):
        return True
    if not dvc("remote", "list").strip():
        print("DVC's remote: none is set", flush=True)
        return False
    return _tried("remote", "pull", pinned)


def _tried(place: str, command: str, pinned: Pin) -> bool:
    try:
        with _raw_unchanged_on_failure() as aside:
            if RAW.is_dir():
                shutil.copytree(RAW, aside, symlinks=True, copy_function=os.link)
            dvc(command, str(PIN))
            if not RAW.is_dir() or tree_md5(RAW) != pinned.md5:
                raise UserError(f"what it gave is not what {PIN} pins")
    except UserError as error:
        print(f"DVC's {place}: {error}", flush=True)
        return False
    print(f"DVC's {place}: {RAW} is back as {PIN} pins it", flush=True)
    return True
