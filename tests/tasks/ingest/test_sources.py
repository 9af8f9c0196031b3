"""Fashion-MNIST by name: the published bytes from any place that has them, or an error that names every place."""

import gzip
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.common.errors import UserError
from tasks.common.files import sha256_bytes, sha256_file
from tasks.ingest.sources import FASHION_FILES, PACKAGE, _from_debian, fashion_mnist

CONTENT = {name: name.encode() * 100 for name in FASHION_FILES}


@pytest.fixture
def small_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replaces the table of published hashes by those of four small files."""
    for name, content in CONTENT.items():
        monkeypatch.setitem(FASHION_FILES, name, sha256_bytes(content))


def _write(folder: Path, compress: bool) -> Path:
    folder.mkdir(parents=True)
    for name, content in CONTENT.items():
        (folder / f"{name}{'.gz' * compress}").write_bytes(gzip.compress(content) if compress else content)
    return folder


@pytest.mark.usefixtures("small_files")
@pytest.mark.parametrize("compress", [False, True])
def test_a_local_folder_provides_plain_and_compressed_files(tmp_path: Path, compress: bool) -> None:
    _write(tmp_path / "local" / "FashionMNIST" / "raw", compress)  # where torchvision puts them
    target = tmp_path / "target"
    target.mkdir()
    assert fashion_mnist(target, tmp_path / "local")[9] == "Ankle boot"
    assert {path.name: path.read_bytes() for path in target.iterdir()} == CONTENT


@pytest.mark.usefixtures("small_files")
@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda path: path.unlink(), "there is no t10k-labels-idx1-ubyte, with or without .gz"),
        (lambda path: path.write_bytes(gzip.compress(b"other")), "its t10k-labels-idx1-ubyte is not the published"),
        (lambda path: path.write_bytes(path.read_bytes()[:-9]), "its t10k-labels-idx1-ubyte.gz is damaged"),
    ],
)
def test_a_local_folder_with_other_files_is_an_error(
    tmp_path: Path, damage: Callable[[Path], object], words: str
) -> None:
    folder = _write(tmp_path / "local", compress=True)
    damage(folder / "t10k-labels-idx1-ubyte.gz")
    with pytest.raises(UserError, match=words):
        fashion_mnist(tmp_path, folder)


def test_the_real_files_come_from_from_debian(tmp_path: Path) -> None:
    if shutil.which("apt-get") is None or shutil.which("dpkg") is None:
        pytest.skip("needs Debian's package apt")
    try:
        _from_debian(tmp_path)
    except UserError as error:
        pytest.skip(f"needs Debian's package {PACKAGE}: {error}")
    assert {path.name: sha256_file(path) for path in tmp_path.iterdir()} == FASHION_FILES
