"""Untrusted archives: whole ones are unpacked, and all others are rejected without a trace."""

import bz2
import gzip
import io
import lzma
import stat
import subprocess
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.common.errors import UserError
from tasks.ingest.archives import is_archive, strip_top_folder, unpack
from tasks.ingest.raw import file_names

FILES = {"cats/1.png": b"one", "dogs/2.png": b"two" * 1000, "dogs/é.png": b""}


def _zip(path: Path, files: dict[str, bytes], **fields: int) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            info = zipfile.ZipInfo(name)
            for field, value in fields.items():
                setattr(info, field, value)
            archive.writestr(info, content, zipfile.ZIP_DEFLATED)
    return path


def _tar(path: Path, files: dict[str, bytes], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, content in files.items():
            archive.addfile(_member(name, size=len(content)), io.BytesIO(content))
    return path


def _member(name: str, **fields: object) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    for field, value in fields.items():
        setattr(info, field, value)
    return info


def _tar_of_members(path: Path, *members: tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w") as archive:
        for member in members:
            archive.addfile(member)
    return path


def _unpacked(archive: Path, **limit: int) -> dict[str, bytes]:
    target = archive.parent / "target"
    target.mkdir()
    unpack(archive, target, **limit)
    return {name: (target / name).read_bytes() for name in file_names(target)}


def _error(archive: Path, **limit: int) -> str:
    with pytest.raises(UserError) as caught:
        _unpacked(archive, **limit)
    return str(caught.value)


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_tars_are_unpacked(tmp_path: Path, mode: str) -> None:
    archive = _tar(tmp_path / "a.tar", FILES, mode)
    assert is_archive(archive)
    assert _unpacked(archive) == FILES


def test_zips_are_unpacked(tmp_path: Path) -> None:
    archive = _zip(tmp_path / "a.zip", FILES)
    assert is_archive(archive)
    assert _unpacked(archive) == FILES


@pytest.mark.parametrize("make", [_zip, _tar])
def test_system_files_and_manifests_are_left_out(tmp_path: Path, make: Callable[..., Path]) -> None:
    junk = {"__MACOSX/._1.png": b"x", "a/.DS_Store": b"x", "a/Thumbs.db": b"x", "manifest.json": b"{}"}
    assert _unpacked(make(tmp_path / "a", FILES | junk)) == FILES


@pytest.mark.parametrize("make", [_zip, _tar])
@pytest.mark.parametrize("name", ["../out.png", "a/../../out.png", "/tmp/out.png", "..\\out.png", "C:\\out.png"])
def test_a_path_that_leaves_the_folder_is_rejected(tmp_path: Path, make: Callable[..., Path], name: str) -> None:
    assert "points outside" in _error(make(tmp_path / "a", {name: b"x"}))
    assert file_names(tmp_path) == ["a"]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_in_a_tar_are_rejected(tmp_path: Path, kind: bytes) -> None:
    archive = _tar_of_members(tmp_path / "a.tar", _member("a", type=kind, linkname="/etc/passwd"))
    assert "link or a device" in _error(archive)


def test_links_in_a_zip_are_rejected(tmp_path: Path) -> None:
    archive = _zip(
        tmp_path / "a.zip", {"a": b"/etc/passwd"}, external_attr=(stat.S_IFLNK | 0o777) << 16, create_system=3
    )
    assert "link or a device" in _error(archive)


@pytest.mark.parametrize("make", [_zip, _tar])
def test_more_bytes_than_the_limit_are_rejected(tmp_path: Path, make: Callable[..., Path]) -> None:
    archive = make(tmp_path / "a", {"1": bytes(600), "2": bytes(600)})
    assert "above 1,000" in _error(archive, limit=1000)


def test_the_limit_counts_bytes_read_whatever_the_header_says(tmp_path: Path) -> None:
    archive = _zip(tmp_path / "a.zip", {"a": bytes(3_000_000)})
    true_size = (3_000_000).to_bytes(4, "little")
    archive.write_bytes(archive.read_bytes().replace(true_size, (10).to_bytes(4, "little")))
    assert "above 1,000" in _error(archive, limit=1000) or "damaged" in _error_again(archive)


def _error_again(archive: Path) -> str:
    (archive.parent / "target").rename(archive.parent / "before")
    return _error(archive, limit=1000)


def test_a_tar_whose_tail_never_ends_is_rejected(tmp_path: Path) -> None:
    _tar(tmp_path / "a.tar", {"1": b"x"})
    (tmp_path / "a.tar.gz").write_bytes(gzip.compress((tmp_path / "a.tar").read_bytes() + bytes(50_000_000)))
    assert "above 20,000" in _error(tmp_path / "a.tar.gz", limit=20_000)


def test_an_encrypted_zip_is_rejected(tmp_path: Path) -> None:
    archive = _zip(tmp_path / "a.zip", {"a.png": b"secret"})
    content = bytearray(archive.read_bytes())
    content[6] |= 1  # the flag in the local header and in the central directory
    content[content.index(b"PK\x01\x02") + 8] |= 1
    archive.write_bytes(content)
    assert "encrypted" in _error(archive)


def test_two_members_at_one_path_are_rejected(tmp_path: Path) -> None:
    archive = _tar_of_members(tmp_path / "a.tar", _member("a"), _member("./a"))
    assert "twice" in _error(archive)


def test_a_file_that_is_also_a_folder_is_rejected(tmp_path: Path) -> None:
    archive = _tar_of_members(tmp_path / "a.tar", _member("a"), _member("a/b"))
    assert "twice" in _error(archive)


@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress, lzma.compress])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_a_tar_cut_short_is_rejected(tmp_path: Path, pack: Callable[[bytes], bytes], share: float) -> None:
    noise = bytes(range(256)) * 40
    content = _tar(tmp_path / "whole.tar", {str(number): noise[number:] for number in range(9)}).read_bytes()
    end = content.rindex(noise[8:]) + len(noise)
    packed = pack(content[:end])
    (tmp_path / "a.tar").write_bytes(packed[: int(len(packed) * share)])
    assert not is_archive(tmp_path / "a.tar") or "damaged" in _error(tmp_path / "a.tar")


def test_a_broken_header_inside_a_tar_is_not_taken_for_its_end(tmp_path: Path) -> None:
    archive = _tar(tmp_path / "a.tar", {"1": b"x", "2": b"y", "3": b"z"})
    content = bytearray(archive.read_bytes())
    content[1024 : 1024 + 100] = b"\xff" * 100  # the second member's name, so its checksum is wrong
    archive.write_bytes(content)
    assert "damaged" in _error(archive)


def test_a_zip_with_a_changed_byte_is_rejected(tmp_path: Path) -> None:
    archive = _zip(tmp_path / "a.zip", {"a.png": bytes(range(256)) * 9})
    content = bytearray(archive.read_bytes())
    content[60] ^= 0xFF
    archive.write_bytes(content)
    assert "damaged" in _error(archive)


def test_a_top_folder_is_stripped_unless_it_names_a_split(tmp_path: Path) -> None:
    for top in ("photos", "Train"):
        (tmp_path / top / top / "cat").mkdir(parents=True)
        (tmp_path / top / top / "cat" / "1.png").write_bytes(b"x")
        strip_top_folder(tmp_path / top, frozenset({"train"}))
    assert file_names(tmp_path / "photos") == ["cat/1.png"]
    assert file_names(tmp_path / "Train") == ["Train/cat/1.png"]


def test_an_archive_made_by_gnu_tar_is_unpacked(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / f"{'long' * 40}.png").write_bytes(b"x" * 5000)
    subprocess.run(["tar", "-czf", "a.tar.gz", "-C", "images", "."], cwd=tmp_path, check=True)
    assert list(_unpacked(tmp_path / "a.tar.gz").values()) == [b"x" * 5000]
