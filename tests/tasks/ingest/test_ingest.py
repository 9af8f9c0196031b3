"""Filling, pinning and restoring data/raw, in a real checkout with a real DVC cache."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from ruamel.yaml import YAML

from tasks.common.errors import UserError
from tasks.common.files import sha256_tree
from tasks.ingest.fill import accept, ingest
from tasks.ingest.pin import raw_hash, read_pin
from tasks.ingest.raw import check_raw
from tests.conftest import Checkout

NAMES = ["a.b.png", "a/b.png", "a/é 1.png", "b/1.png"]


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder of four images and some junk."""
    folder = tmp_path / "images"
    for number, name in enumerate(NAMES):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (9, 9), number).save(folder / name)
    (folder / ".DS_Store").write_bytes(b"x")
    (folder / "b" / "Thumbs.db").write_bytes(b"x")
    return folder


@pytest.fixture
def project(checkout: Checkout, monkeypatch: pytest.MonkeyPatch) -> Checkout:
    """A checkout that is this process's working folder."""
    monkeypatch.chdir(checkout.path)
    return checkout


def _dvc(*arguments: str) -> str:
    done = subprocess.run([sys.executable, "-m", "dvc", *arguments], capture_output=True, text=True, check=True)
    return done.stdout


def _git(*arguments: str) -> str:
    command = ["git", "-c", "user.name=Test", "-c", "user.email=test@example.com", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def _state() -> tuple[dict[str, str], bytes]:
    """Returns what a failure must not change, data/raw and its pin, and checks that nothing lies beside them."""
    assert sorted(path.name for path in Path("data").iterdir()) == [".gitignore", "raw", "raw.dvc"]
    return sha256_tree(Path("data/raw")), Path("data/raw.dvc").read_bytes()


def test_a_folder_is_ingested_and_pinned_with_dvcs_hash(project: Checkout, images: Path) -> None:
    ingest(str(images))
    manifest, pinned = check_raw(), read_pin()
    assert sorted(manifest.files) == sorted(NAMES)
    assert manifest.source == "folder"
    assert pinned is not None
    assert (pinned.source, pinned.files) == ("folder", len(NAMES) + 1)
    assert pinned.md5 == raw_hash(Path("data/raw"))
    assert "up to date" in _dvc("status", "data/raw.dvc")
    assert _git("status", "--short") == "?? data/raw.dvc\n"
    before = _state()
    ingest(str(images))
    assert _state() == before
    _dvc("add", "data/raw")
    assert read_pin() == pinned  # a manual `dvc add` keeps the note of the source


def test_another_pin_replaces_an_unchanged_folder_if_its_data_is_available(project: Checkout, images: Path) -> None:
    ingest(str(images))
    old = _state()
    (images / "b" / "1.png").unlink()
    ingest(str(images))
    new = _state()
    Path("data/raw.dvc").write_bytes(old[1])
    ingest(None)
    assert _state() == old
    shutil.rmtree(".dvc/cache")
    Path("data/raw.dvc").write_bytes(new[1])
    with pytest.raises(UserError, match="neither DVC's cache nor a remote has"):
        ingest(None)
    assert _state() == (old[0], new[1])


def test_pinned_data_is_restored_from_the_cache_and_from_the_remote(
    project: Checkout, images: Path, tmp_path: Path
) -> None:
    ingest(str(images))
    before = _state()
    _dvc("remote", "add", "-d", "store", str(tmp_path / "store"))
    _dvc("push", "data/raw.dvc")
    shutil.rmtree("data/raw")
    ingest(None)
    assert _state() == before
    shutil.rmtree("data/raw")
    shutil.rmtree(".dvc/cache")
    ingest(None)
    assert _state() == before


def test_a_fresh_clone_fetches_a_named_data_set_again(
    project: Checkout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ingest("digits")
    before = _state()
    _git("add", "-A")
    _git("commit", "-qm", "Data")
    _git("clone", "-q", ".", str(tmp_path / "clone"))
    monkeypatch.chdir(tmp_path / "clone")
    ingest(None)
    assert _state() == before
    assert _git("status", "--short") == ""
    capsys.readouterr()
    ingest(None)
    ingest("digits")
    assert capsys.readouterr().out == 2 * "data/raw: digits, 2 files, as data/raw.dvc pins it\n"
    shutil.copy("data/raw/images-idx3-ubyte", "data/raw/more-images-idx3-ubyte")
    accept()
    pinned = read_pin()
    assert pinned is not None
    assert pinned.source == check_raw().source == "folder"  # because it is no longer the named data set
    assert check_raw().labels == [str(digit) for digit in range(10)]


def test_a_data_set_that_differs_from_the_pinned_one_is_rejected(project: Checkout) -> None:
    text = "outs:\n- md5: 0123456789abcdef0123456789abcdef.dir\n  size: 1\n  nfiles: 3\n  hash: md5\n  path: raw\n"
    Path("data/raw.dvc").write_text(f"{text}meta:\n  source: digits\n")
    with pytest.raises(UserError, match=r"digits is not the data that data/raw\.dvc pins"):
        ingest(None)
    assert sorted(path.name for path in Path("data").iterdir()) == [".gitignore", "raw.dvc"]
    assert "0123456789abcdef" in Path("data/raw.dvc").read_text()


def test_a_change_by_hand_is_rejected_until_it_is_accepted(project: Checkout, images: Path) -> None:
    ingest(str(images))
    Image.new("L", (9, 9), 77).save("data/raw/b/2.png")
    before = _state()
    with pytest.raises(UserError, match=r"b/2\.png is new since .* --accept"):
        ingest(None)
    assert _state() == before
    accept()
    assert "b/2.png" in check_raw().files
    assert "up to date" in _dvc("status", "data/raw.dvc")
    ingest(None)


def test_nothing_changes_when_dvc_fails(project: Checkout, images: Path) -> None:
    ingest(str(images))
    before = _state()
    Path(".dvc/config").write_text("[core]\n    no_such_option = 1\n")
    (images / "b" / "1.png").unlink()
    with pytest.raises(UserError, match="dvc add data/raw` failed"):
        ingest(str(images))
    assert _state() == before
    Path("data/raw/new.png").write_bytes(b"x")
    with pytest.raises(UserError, match="dvc add data/raw` failed"):
        accept()
    Path("data/raw/new.png").unlink()
    assert _state() == before


def test_files_that_dvc_ignores_are_an_error(project: Checkout, images: Path) -> None:
    Path(".dvcignore").write_text("b\n")
    with pytest.raises(UserError, match=r"\.dvcignore"):
        ingest(str(images))
    assert sorted(path.name for path in Path("data").iterdir()) == [".gitignore"]


def test_a_damaged_pin_is_named(project: Checkout) -> None:
    YAML().dump({"outs": []}, Path("data/raw.dvc"))
    with pytest.raises(UserError, match=r"data/raw\.dvc is damaged"):
        ingest(None)
