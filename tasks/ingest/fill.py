"""Fills data/raw from a named data set, a folder or an archive, or restores what data/raw.dvc pins."""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from tasks.common.errors import UserError
from tasks.ingest.archives import copy_folder, is_archive, strip_top_folder, unpack
from tasks.ingest.pin import PIN, Pin, pin_in_place, raw_hash, read_pin, replace_raw, restore_pinned
from tasks.ingest.raw import RAW, REMEDY, RawManifest, build_manifest, check_raw, read_manifest, write_manifest
from tasks.ingest.sources import digits, fashion_mnist

FOLDER = "folder"  # the source of data without a name
DEFAULT = "fashion-mnist"
DATA_SETS: dict[str, Callable[[Path, Path | None], list[str]]] = {DEFAULT: fashion_mnist, "digits": digits}
SPLIT_FOLDERS = frozenset({"train", "test", "val", "validation"})


def ingest(source: str | None, local: Path | None = None) -> None:
    """Fills data/raw from `source` and pins it with DVC; if anything fails, data/raw stays as it was.

    `source` is a data set's name, the path of a folder, zip or tar, or None for what data/raw.dvc pins. `local` is a
    folder with the files of the named data set, which are downloaded otherwise. Raises UserError when the source is
    unknown, empty, damaged or unavailable, and when None would overwrite a data/raw that was changed by hand.
    """
    if not Path(".dvc").is_dir():
        raise UserError("there is no .dvc here; run this from the project's folder, cloned with git")
    if source is None:
        _restore(local)
    elif source in DATA_SETS:
        if local is not None or not _is_current(source):
            _fill_by_name(source, local)
    elif local is not None:
        raise UserError(f"`--from` goes with {DEFAULT} only; leave it out for {source}")
    else:
        _fill_from_path(Path(source))


def accept() -> None:
    """Lists data/raw anew, as it is, and pins it; a named data set that was changed loses its name."""
    if not RAW.is_dir():
        raise UserError(f"{RAW} is missing; `imagewright data SOURCE` fills it")
    old = _old_manifest()
    manifest = build_manifest(RAW, FOLDER, old.labels if old else None)
    if old is not None and old.files == manifest.files:
        manifest = old
    pin_in_place(manifest)
    _report(manifest)


def _is_current(source: str) -> bool:
    """Returns whether data/raw already is that data set, unchanged and pinned, and if so reports it."""
    old, pin = _old_manifest(), read_pin()
    if old is None or pin is None or old.source != source or raw_hash(RAW) != pin.md5:
        return False
    _report(check_raw(RAW))
    return True


def _old_manifest() -> RawManifest | None:
    try:
        return read_manifest(RAW)
    except UserError:
        return None


def _restore(local: Path | None) -> None:
    """Makes data/raw what data/raw.dvc pins: unchanged, from DVC's cache or remote, or from the data set's source."""
    pin = read_pin()
    if RAW.is_dir() and any(RAW.iterdir()):
        manifest = check_raw(RAW)
        if pin is None:
            raise UserError(f"{RAW} exists but {PIN} does not; {REMEDY}")
        if raw_hash(RAW) == pin.md5:
            _report(manifest)
            return
    if pin is None:
        _fill_by_name(DEFAULT, local)
    elif not restore_pinned(pin):
        if pin.source not in DATA_SETS:
            problem = f"{PIN} pins a folder of images that neither DVC's cache nor a remote has"
            raise UserError(f"{problem}; give it again: `imagewright data PATH`")
        _fill_by_name(pin.source, local, pin)


def _fill_by_name(name: str, local: Path | None, pin: Pin | None = None) -> None:
    _fill(name, lambda folder: DATA_SETS[name](folder, local), pin)


def _fill_from_path(path: Path) -> None:
    if not path.exists():
        raise UserError(f"{path} is neither a data set's name ({' or '.join(DATA_SETS)}) nor a folder or an archive")
    if path.resolve() == RAW.resolve():
        accept()
    elif path.is_dir():
        _fill(FOLDER, lambda folder: copy_folder(path, folder))
    elif is_archive(path):
        _fill(FOLDER, lambda folder: _unpack(path, folder))
    else:
        raise UserError(f"{path} is neither a folder nor a whole zip or tar archive; check the file, or fetch it again")


def _unpack(archive: Path, folder: Path) -> None:
    unpack(archive, folder)
    strip_top_folder(folder, SPLIT_FOLDERS)


def _fill(source: str, write: Callable[[Path], list[str] | None], pin: Pin | None = None) -> None:
    """Lets `write` fill a folder beside data/raw, compares it with `pin`, and replaces data/raw by it."""
    RAW.parent.mkdir(exist_ok=True)
    with TemporaryDirectory(dir=RAW.parent, prefix=".raw.new.") as scratch:
        folder = Path(scratch) / RAW.name
        folder.mkdir()
        labels = write(folder)
        manifest = build_manifest(folder, source, labels)
        write_manifest(folder, manifest)
        if pin is not None and raw_hash(folder) != pin.md5:
            raise UserError(f"{source} is not the data that {PIN} pins; `imagewright data {source}` pins it anew")
        replace_raw(folder, source)
    _report(manifest)


def _report(manifest: RawManifest) -> None:
    print(f"{RAW}: {manifest.source}, {len(manifest.files):,} files, as {PIN} pins it", flush=True)
