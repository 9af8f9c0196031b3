"""The data sets known by name, and the places that have them."""

import gzip
import shutil
import subprocess
import urllib.request
import zlib
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO

import numpy as np

from tasks.common.cli import DISK_FULL
from tasks.common.errors import UserError
from tasks.common.files import sha256_bytes
from tasks.ingest.idx import write_idx

FASHION_FILES = {
    "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}
FASHION_LABELS = [
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
]
PACKAGE = "dataset-fashion-mnist"
SECONDS_TO_ANSWER = 10
MAX_BYTES = 2**26  # of one unpacked file; the largest has 47,040,016
APT = ["apt-get", "-q", "-o", "Acquire::Retries=0"]
APT += [f"-oAcquire::{scheme}::Timeout={SECONDS_TO_ANSWER}" for scheme in ("http", "https")]


def digits(target: Path, given: Path | None = None) -> list[str]:
    """Writes scikit-learn's 1,797 handwritten digits, 8x8, as idx files to `target`; returns the labels' names.

    The values 0..16 become 0..255 (Alpaydin and Kaynak 1998, UCI "Optical Recognition of Handwritten Digits").
    """
    from sklearn.datasets import load_digits

    if given is not None:
        raise UserError("`digits` comes with scikit-learn; leave `--from` out")
    images, labels = load_digits(return_X_y=True)
    write_idx(target / "images-idx3-ubyte", np.round(images * 255 / 16).astype(np.uint8).reshape(-1, 8, 8))
    write_idx(target / "labels-idx1-ubyte", labels.astype(np.uint8))
    return [str(digit) for digit in range(10)]


def fashion_mnist(target: Path, given: Path | None = None) -> list[str]:
    """Writes Fashion-MNIST's four idx files (Xiao 2017) to `target`; returns the labels' names.

    They come from the folder `given`, or else from the first place that answers: torchvision's mirrors, Debian's
    package. Wherever from, their SHA-256 must be the known ones. Raises UserError with each place's reason when none
    has them.
    """
    places: dict[str, Callable[[Path], None]] = {
        "torchvision's mirrors": _mirrors,
        f"Debian's package {PACKAGE}": _debian,
    }
    if given is not None:
        places = {str(given): lambda target: _from_folder(given, target)}
    reasons = []
    for place, fetch in places.items():
        print(f"fashion-mnist: trying {place}", flush=True)
        try:
            fetch(target)
            return FASHION_LABELS
        except UserError as error:
            print(f"fashion-mnist: {error}", flush=True)
            reasons.append(f"{place}: {error}")
    raise UserError(
        f"Fashion-MNIST could not be had ({'; '.join(reasons)}); get its four idx files, .gz or not, by any means "
        "and name their folder: `python -m tasks.ingest fashion-mnist --from FOLDER`"
    )


def _from_folder(folder: Path, target: Path) -> None:
    """Takes the idx files from anywhere below `folder`, unpacking those that are .gz."""
    for name in FASHION_FILES:
        found = sorted([*folder.rglob(name), *folder.rglob(f"{name}.gz")])
        if not found:
            raise UserError(f"there is no {name}, with or without .gz")
        with found[0].open("rb") as source:
            _keep(source, found[0].suffix == ".gz", target / name)


def _mirrors(target: Path) -> None:
    """Downloads from the addresses that torchvision knows."""
    from torchvision.datasets import FashionMNIST

    reason = "it knows none"
    for mirror in FashionMNIST.mirrors:
        try:
            for name in FASHION_FILES:
                with urllib.request.urlopen(f"{mirror}{name}.gz", timeout=SECONDS_TO_ANSWER) as answer:
                    _keep(answer, True, target / name)
            return
        except OSError as error:
            if error.errno in DISK_FULL:
                raise
            reason = f"{mirror} gave no answer ({error})"
    raise UserError(reason)


def _keep(source: IO[bytes], compressed: bool, path: Path) -> None:
    """Writes the content of `source` to `path`; raises UserError when it is not the file of that name."""
    try:
        data = (gzip.GzipFile(fileobj=source) if compressed else source).read(MAX_BYTES)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(f"its {path.name}.gz is damaged ({error})") from None
    if sha256_bytes(data) != FASHION_FILES[path.name]:
        raise UserError(f"its {path.name} is not the published file: SHA-256 {sha256_bytes(data)}")
    path.write_bytes(data)


def _debian(target: Path) -> None:
    """Downloads and unpacks the package, without installing it; where apt has no lists, with lists of its own."""
    for tool in ("apt-get", "dpkg"):
        if shutil.which(tool) is None:
            raise UserError(f"{tool} is not on this machine")
    with TemporaryDirectory() as scratch:
        folder = Path(scratch)
        try:
            _call(folder, *APT, "download", PACKAGE)
        except UserError:
            _download_with_own_lists(folder)
        package = next(folder.glob("*.deb"), None)
        if package is None:
            raise UserError("apt-get said nothing, and fetched nothing")
        _call(folder, "dpkg", "-x", str(package), "unpacked")
        _from_folder(folder / "unpacked", target)


def _download_with_own_lists(folder: Path) -> None:
    lists, cache = folder / "lists", folder / "cache"
    for part in (lists / "partial", cache / "archives" / "partial"):
        part.mkdir(parents=True)
    own = ["-o", f"Dir::State::lists={lists}", "-o", f"Dir::Cache={cache}"]
    _call(folder, *APT, *own, "update")
    _call(folder, *APT, *own, "download", PACKAGE)


def _call(folder: Path, *command: str) -> None:
    done = subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        faults = [line.removeprefix("E: ") for line in done.stderr.splitlines() if line.startswith("E: ")]
        raise UserError(f"{command[0]} {'; '.join(faults) or f'ended with {done.returncode}'}")
