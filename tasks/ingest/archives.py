"""Taking in a zip or tar archive from anybody: nothing leaves the folder, nothing grows without bound."""

import lzma
import re
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, cast

from tasks.common.errors import UserError
from tasks.ingest.raw import MANIFEST, is_junk

MAX_UNPACKED = 20 * 2**30  # bytes; a data set larger than that is better given as a folder
CHUNK = 2**20
DAMAGE = (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, NotImplementedError)


def is_archive(path: Path) -> bool:
    """Whether `path` is a zip or a tar (plain, .gz, .bz2, .xz) as far as its beginning and end tell."""
    try:
        return zipfile.is_zipfile(path) or tarfile.is_tarfile(path)
    except DAMAGE:
        return False


def unpack(archive: Path, target: Path, limit: int = MAX_UNPACKED) -> None:
    """Unpacks the files of a zip or tar into the empty folder `target`, junk left out.

    Raises UserError for a member whose path is absolute or leaves the folder, a link or device, two members at one
    path, more than `limit` unpacked bytes (counted while reading, whatever the header says), an encrypted member, or
    a damaged archive. What was written by then is the caller's to remove.
    """
    members = Members(archive, target, limit)
    with _readable(archive):
        if zipfile.is_zipfile(archive):
            _unpack_zip(archive, members)
        else:
            _unpack_tar(archive, members)


def lift_lone_folder(folder: Path, keep: frozenset[str]) -> None:
    """Puts the content of the only folder in `folder` in its place; a name in `keep` says something, and stays."""
    inside = list(folder.iterdir())
    if len(inside) == 1 and inside[0].is_dir() and inside[0].name.lower() not in keep:
        lone = folder.with_name(f"{folder.name}.lone")
        inside[0].replace(lone)
        folder.rmdir()
        lone.replace(folder)


class Members:
    """Writes an archive's members below a folder and keeps count of their bytes."""

    def __init__(self, archive: Path, target: Path, limit: int) -> None:
        self._archive, self._target = archive, target
        self._limit, self._left = limit, limit

    def refuse(self, name: str, fault: str) -> UserError:
        """The error for a member that must not come in."""
        return UserError(f"{self._archive} is refused, nothing was taken in: {name!r} {fault}")

    def write(self, name: str, stream: IO[bytes]) -> None:
        """Writes one member; raises UserError when its path or its size must not be."""
        path = self._inside(name)
        if path is None:
            return
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("xb") as file:
                for data in self.counted(name, stream):
                    file.write(data)
        except (FileExistsError, NotADirectoryError):
            raise self.refuse(name, "is in the archive twice, or as a file and as a folder") from None

    def counted(self, name: str, stream: IO[bytes]) -> Iterator[bytes]:
        """The stream's bytes; raises UserError once all streams together exceed the bound."""
        while data := stream.read(CHUNK):
            self._left -= len(data)
            self.expect(name, 0)
            yield data

    def expect(self, name: str, size: int) -> None:
        """Raises UserError when `size` more bytes would exceed the bound: a bomb that says so is not unpacked first."""
        if size > self._left or self._left < 0:
            raise self.refuse(name, f"brings the unpacked bytes above {self._limit:,}; unpack it and give the folder")

    def _inside(self, name: str) -> Path | None:
        posix = PurePosixPath(name.replace("\\", "/"))
        if posix.is_absolute() or ".." in posix.parts or re.match("[A-Za-z]:", name):
            raise self.refuse(name, "points outside of the folder it is unpacked to")
        return None if is_junk(str(posix)) or str(posix) == MANIFEST else self._target / posix


def _unpack_zip(archive: Path, members: Members) -> None:
    with zipfile.ZipFile(archive) as opened:
        for info in opened.infolist():
            kind = stat.S_IFMT(info.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise members.refuse(info.filename, "is a link or a device")
            if info.flag_bits & 1:
                raise members.refuse(info.filename, "is encrypted; unpack it yourself and give the folder")
            if not info.is_dir():
                members.expect(info.filename, info.file_size)
                with opened.open(info) as stream:
                    members.write(info.filename, stream)


def _unpack_tar(archive: Path, members: Members) -> None:
    with tarfile.open(archive) as opened:
        for member in opened:
            if not (member.isfile() or member.isdir()):
                raise members.refuse(member.name, "is a link or a device")
            stream = opened.extractfile(member)
            if stream is not None:
                members.expect(member.name, member.size)
                members.write(member.name, stream)
        _refuse_early_end(opened, members)


def _refuse_early_end(opened: tarfile.TarFile, members: Members) -> None:
    """tarfile takes a broken header for the end; a whole archive ends in a block of zeros and a right checksum."""
    stream = cast(IO[bytes], opened.fileobj)
    stream.seek(opened.offset)
    if stream.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise tarfile.ReadError("it is cut short")
    for _ in members.counted("its end", stream):
        pass


@contextmanager
def _readable(archive: Path) -> Iterator[None]:
    try:
        yield
    except (*DAMAGE, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # a full disk, say; what bz2 and gzip find wrong in the data carries no number
        raise UserError(f"{archive} is damaged ({error}); fetch it again") from None
