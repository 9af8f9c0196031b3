"""data/raw.dvc, DVC's record of data/raw: reads it, writes it, and restores what it pins."""

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
from tasks.common.files import dvc_folder_hash, md5_file, remove, replacing, write_bytes
from tasks.ingest.raw import MANIFEST, RAW, RawManifest, file_names, hash_files, write_manifest

PIN = Path("data/raw.dvc")


@dataclass(frozen=True)
class Pin:
    """The content of data/raw.dvc: the folder's hash, the number of its files, and the source that ingest noted."""

    md5: str
    files: int
    source: str


def read_pin() -> Pin | None:
    """Returns what data/raw.dvc pins, or None without that file; raises UserError when it is damaged."""
    if not PIN.is_file():
        return None
    try:
        content = YAML(typ="safe").load(PIN.read_text(encoding="utf-8"))
        out = content["outs"][0]
        return Pin(str(out["md5"]), int(out["nfiles"]), str((content.get("meta") or {}).get("source", "folder")))
    except Exception as error:  # damaged YAML and missing or wrong values raise many types
        reason = " ".join(str(error).split())
        raise UserError(f"{PIN} is damaged ({reason}); `git checkout {PIN}` brings it back") from None


def raw_hash(folder: Path) -> str:
    """Returns DVC's hash of data/raw, or of a folder that will replace it."""
    manifest = [MANIFEST] if (folder / MANIFEST).is_file() else []
    return dvc_folder_hash(hash_files(folder, [*file_names(folder), *manifest], md5_file))


def dvc(*arguments: str) -> str:
    """Runs a DVC command, which waits for DVC's lock, and returns its output; raises UserError with its message."""
    command = [sys.executable, "-m", "dvc", "--wait-for-lock", *arguments]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        lines = [line.removeprefix("ERROR: ") for line in done.stderr.splitlines() if line and "<http" not in line]
        raise UserError(f"`dvc {' '.join(arguments)}` failed: {' '.join(lines)}")
    return done.stdout


def _pin_raw(source: str) -> None:
    """Runs `dvc add data/raw` and notes `source` in data/raw.dvc, so that a fresh clone knows what to fetch."""
    dvc("add", str(RAW))
    yaml = YAML()
    content = yaml.load(PIN.read_text(encoding="utf-8"))
    content["meta"] = {"source": source}
    with replacing(PIN) as beside:
        yaml.dump(content, beside)
    found, added = len(file_names(RAW)) + 1, int(content["outs"][0]["nfiles"])
    if added != found:
        raise UserError(f"DVC recorded {added:,} of {found:,} files in {RAW}; .dvcignore must leave none of them out")


def pin_in_place(manifest: RawManifest) -> None:
    """Writes `manifest` into data/raw and pins it; if that fails, the manifest and the pin stay as they were."""
    with _unchanged_on_failure(RAW / MANIFEST), _unchanged_on_failure(PIN):
        write_manifest(RAW, manifest)
        _pin_raw(manifest.source)


def replace_raw(new: Path, source: str) -> None:
    """Replaces data/raw by the folder `new` and pins it; if that fails, data/raw and its pin stay as they were."""
    with _raw_unchanged_on_failure() as aside:
        if RAW.exists():
            RAW.replace(aside)
        new.replace(RAW)
        _pin_raw(source)


@contextmanager
def _unchanged_on_failure(path: Path) -> Iterator[None]:
    """Restores the file `path`, or removes a new one, if the block fails."""
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
    """Yields a path to move or hard-link data/raw to; if the block fails, data/raw and its pin are restored."""
    existed = RAW.exists()
    with _unchanged_on_failure(PIN), TemporaryDirectory(dir=RAW.parent, prefix=".raw.old.") as scratch:
        aside = Path(scratch) / RAW.name
        try:
            yield aside
        except BaseException:
            if aside.exists() or not existed:
                remove(RAW)
            if aside.exists():
                aside.replace(RAW)
            raise


def restore_pinned(pin: Pin) -> bool:
    """Fills data/raw from DVC's cache, else from its remote; returns whether it now is what was pinned.

    If DVC fails, data/raw stays as it was; DVC itself deletes the folder before it finds its cache empty.
    """
    if _restored("cache", "checkout", pin):
        return True
    if not dvc("remote", "list").strip():
        print("DVC's remote: none is set", flush=True)
        return False
    return _restored("remote", "pull", pin)


def _restored(place: str, command: str, pin: Pin) -> bool:
    try:
        with _raw_unchanged_on_failure() as aside:
            if RAW.is_dir():
                shutil.copytree(RAW, aside, symlinks=True, copy_function=os.link)
            dvc(command, str(PIN))
            if not RAW.is_dir() or raw_hash(RAW) != pin.md5:
                raise UserError(f"its data is not what {PIN} pins")
    except UserError as error:
        print(f"DVC's {place}: {error}", flush=True)
        return False
    print(f"DVC's {place}: restored {RAW} as {PIN} pins it", flush=True)
    return True
