"""The data sets that have a name, and the places that provide them."""

import gzip
import shutil
import subprocess
import urllib.request
import zlib
from functools import partial
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
FASHION_LABELS = ["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"]
FASHION_LABELS += ["Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"]
PACKAGE = "dataset-fashion-mnist"
TIMEOUT = 10  # seconds
MAX_BYTES = 2**26  # largest unpacked file; the largest of Fashion-MNIST has 47,040,016 bytes
APT = ["apt-get", "-q", "-o", "Acquire::Retries=0"]
APT += [f"-oAcquire::{scheme}::Timeout={TIMEOUT}" for scheme in ("http", "https")]


def digits(target: Path, local: Path | None = None) -> list[str]:
    """Writes scikit-learn's 1,797 handwritten digits, 8x8, as idx files to `target`; returns the labels' names.

    Scales the values 0..16 to 0..255 (Alpaydin and Kaynak 1998, UCI "Optical Recognition of Handwritten Digits").
    """
    from sklearn.datasets import load_digits

    if local is not None:
        raise UserError("`digits` comes with scikit-learn; leave `--from` out")
    images, labels = load_digits(return_X_y=True)
    write_idx(target / "images-idx3-ubyte", np.round(images * 255 / 16).astype(np.uint8).reshape(-1, 8, 8))
    write_idx(target / "labels-idx1-ubyte", labels.astype(np.uint8))
    return [str(digit) for digit in range(10)]


def fashion_mnist(target: Path, local: Path | None = None) -> list[str]:
    """Writes Fashion-MNIST's four idx files (Xiao 2017) to `target`; returns the labels' names.

    They come from the folder `local`, or else from torchvision's mirrors or Debian's package, whichever answers first.
    Their SHA-256 must be FASHION_FILES. Raises UserError with each place's reason when none provides them.
    """
    places = {"torchvision's mirrors": _from_mirrors, f"Debian's package {PACKAGE}": _from_debian}
    if local is not None:
        places = {str(local): partial(_from_folder, local)}
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
        f"Fashion-MNIST is not available ({'; '.join(reasons)}); get its four idx files, with or without .gz, "
        "and give their folder: `imagewright data fashion-mnist --from FOLDER`"
    )


def _from_folder(folder: Path, target: Path) -> None:
    """Copies the idx files from any place below `folder`, and unpacks .gz files."""
    for name in FASHION_FILES:
        found = sorted([*folder.rglob(name), *folder.rglob(f"{name}.gz")])
        if not found:
            raise UserError(f"there is no {name}, with or without .gz")
        with found[0].open("rb") as source:
            _write_verified(source, found[0].suffix == ".gz", target / name)


def _from_mirrors(target: Path) -> None:
    """Downloads from the first mirror in torchvision's list that answers."""
    from torchvision.datasets import FashionMNIST

    reason = "the list is empty"
    for mirror in FashionMNIST.mirrors:
        try:
            for name in FASHION_FILES:
                with urllib.request.urlopen(f"{mirror}{name}.gz", timeout=TIMEOUT) as answer:
                    _write_verified(answer, True, target / name)
            return
        except OSError as error:
            if error.errno in DISK_FULL:
                raise
            reason = f"{mirror} did not answer ({error})"
    raise UserError(reason)


def _write_verified(source: IO[bytes], compressed: bool, path: Path) -> None:
    """Writes the content of `source` to `path`; raises UserError unless it is the published file of that name."""
    try:
        data = (gzip.GzipFile(fileobj=source) if compressed else source).read(MAX_BYTES)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(f"its {path.name}.gz is damaged ({error})") from None
    if sha256_bytes(data) != FASHION_FILES[path.name]:
        raise UserError(f"its {path.name} is not the published file: SHA-256 {sha256_bytes(data)}")
    path.write_bytes(data)


def _from_debian(target: Path) -> None:
    """Downloads and unpacks the package without installing it, with separate package lists if apt has none."""
    for tool in ("apt-get", "dpkg"):
        if shutil.which(tool) is None:
            raise UserError(f"{tool} is not on this machine")
    with TemporaryDirectory() as scratch:
        folder = Path(scratch)
        try:
            _run(folder, *APT, "download", PACKAGE)
        except UserError:
            for part in ("lists/partial", "cache/archives/partial"):
                (folder / part).mkdir(parents=True)
            separate = ["-o", f"Dir::State::lists={folder / 'lists'}", "-o", f"Dir::Cache={folder / 'cache'}"]
            _run(folder, *APT, *separate, "update")
            _run(folder, *APT, *separate, "download", PACKAGE)
        package = next(folder.glob("*.deb"), None)
        if package is None:
            raise UserError("apt-get reported no error, but downloaded nothing")
        _run(folder, "dpkg", "-x", str(package), "unpacked")
        _from_folder(folder / "unpacked", target)


def _run(folder: Path, *command: str) -> None:
    done = subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        errors = [line.removeprefix("E: ") for line in done.stderr.splitlines() if line.startswith("E: ")]
        raise UserError(f"{command[0]}: {'; '.join(errors) or f'exit code {done.returncode}'}")
