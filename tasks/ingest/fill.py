"""Filling data/raw: from a data set's name, a folder or an archive, or with what data/raw.dvc pins."""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from tasks.common.errors import UserError
from tasks.ingest.archives import is_archive, lift_lone_folder, unpack
from tasks.ingest.folders import copy_folder
from tasks.ingest.pin import PIN, Pin, add, bring_back, install, read_pin, tree_md5, unchanged_on_failure
from tasks.ingest.raw import (
    ACCEPT,
    MANIFEST,
    RAW,
    RawManifest,
    check_raw,
    read_manifest,
    take_stock,
    write_manifest,
)
from tasks.ingest.sources import digits, fashion_mnist

FOLDER = "folder"  # the source of data without a name
DEFAULT = "fashion-mnist"
DATA_SETS: dict[str, Callable[[Path, Path | None], list[str]]] = {DEFAULT: fashion_mnist, "digits": digits}
SPLIT_FOLDERS = frozenset({"train", "test", "val", "validation"})


def ingest(source: str | None, given: Path | None = None) -> None:
    """Fills data/raw from `source` and pins it with DVC; an old data/raw stays untouched when anything fails.

    Args:
        source: a data set's name, the path of a folder, zip or tar, or None for what data/raw.dvc pins.
        given: a folder that has the files of the named data set.

    Raises UserError when the source is unknown, empty, damaged or not to be had, and when None would overwrite a
    data/raw that was changed by hand.
    """
    if not Path(".dvc").is_dir():
        raise UserError("there is no .dvc here; run this from the project's folder, cloned with git")
    if source is None:
        _restore(given)
    elif source in DATA_SETS:
        if given is not None or not _holds(source):
            _take(source, lambda folder: DATA_SETS[source](folder, given))
    elif given is not None:
        raise UserError(f"`--from` goes with {DEFAULT} only; leave it out for {source}")
    else:
        _take_path(Path(source))


def accept() -> None:
    """Takes in data/raw as it stands: lists it anew and pins it. A data set that was changed loses its name."""
    if not RAW.is_dir():
        raise UserError(f"{RAW} is missing; `python -m tasks.ingest SOURCE` fills it")
    known = _known_manifest()
    manifest = take_stock(RAW, FOLDER, known.labels if known else None)
    if known is not None and known.files == manifest.files:
        manifest = known
    with unchanged_on_failure(RAW / MANIFEST), unchanged_on_failure(PIN):
        write_manifest(RAW, manifest)
        add(manifest.source)
    _say(manifest)


def _holds(source: str) -> bool:
    """Whether data/raw is that data set already, unchanged and pinned; says so if it is."""
    known, pinned = _known_manifest(), read_pin()
    if known is None or pinned is None or known.source != source or tree_md5(RAW) != pinned.md5:
        return False
    _say(check_raw(RAW))
    return True


def _known_manifest() -> RawManifest | None:
    try:
        return read_manifest(RAW)
    except UserError:
        return None


def _restore(given: Path | None) -> None:
    """Makes data/raw what data/raw.dvc pins: as it is, from DVC's cache or remote, or from the data set's source."""
    pinned = read_pin()
    if RAW.is_dir() and any(RAW.iterdir()):
        manifest = check_raw(RAW)
        if pinned is None:
            raise UserError(f"{RAW} is there but {PIN} is not; {ACCEPT}")
        if tree_md5(RAW) == pinned.md5:
            _say(manifest)
            return
    if pinned is None:
        _take(DEFAULT, lambda folder: DATA_SETS[DEFAULT](folder, given))
    elif not bring_back(pinned):
        _take_again(pinned, given)


def _take_again(pinned: Pin, given: Path | None) -> None:
    """Gets the data set that data/raw.dvc names once more; raises UserError when it has none, or it became another."""
    if pinned.source not in DATA_SETS:
        raise UserError(
            f"{PIN} pins a folder of images that neither DVC's cache nor a remote has; "
            "give it again: `python -m tasks.ingest PATH`"
        )
    _take(pinned.source, lambda folder: DATA_SETS[pinned.source](folder, given), pinned)


def _take_path(path: Path) -> None:
    if not path.exists():
        names = " and ".join(DATA_SETS)
        raise UserError(f"{path} is no data set's name (these are known: {names}) and no folder or archive either")
    if path.resolve() == RAW.resolve():
        accept()
    elif path.is_dir():
        _take(FOLDER, lambda folder: copy_folder(path, folder))
    elif is_archive(path):
        _take(FOLDER, lambda folder: _unpack(path, folder))
    else:
        raise UserError(f"{path} is neither a folder nor a whole zip or tar archive; check the file, or fetch it again")


def _unpack(archive: Path, folder: Path) -> None:
    unpack(archive, folder)
    lift_lone_folder(folder, SPLIT_FOLDERS)


def _take(source: str, fill: Callable[[Path], list[str] | None], pinned: Pin | None = None) -> None:
    """Lets `fill` write a folder beside data/raw, checks it against `pinned`, and puts it in data/raw's place."""
    RAW.parent.mkdir(exist_ok=True)
    with TemporaryDirectory(dir=RAW.parent, prefix=".raw.new.") as scratch:
        folder = Path(scratch) / RAW.name
        folder.mkdir()
        labels = fill(folder)
        manifest = take_stock(folder, source, labels)
        write_manifest(folder, manifest)
        if pinned is not None and tree_md5(folder) != pinned.md5:
            raise UserError(f"{source} is not the data that {PIN} pins; `python -m tasks.ingest {source}` pins it anew")
        install(folder, source)
    _say(manifest)


def _say(manifest: RawManifest) -> None:
    print(f"{RAW}: {manifest.source}, {len(manifest.files):,} files, as {PIN} pins it", flush=True)
