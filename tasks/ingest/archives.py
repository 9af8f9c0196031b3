"""Copies folders and unpacks zip and tar archives: no member leaves the folder, and the unpacked size is limited."""

import lzma
import os
import re
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, cast

from tasks.common.cli import progress
from tasks.common.errors import UserError
from tasks.ingest.raw import MANIFEST, is_junk

MAX_UNPACKED = 20 * 2**30  # bytes; a larger data set should be given as a folder
CHUNK = 2**20  # bytes per read
DAMAGE = (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, NotImplementedError)


def copy_folder(source: Path, target: Path) -> None:
    """Copies the files below `source` to `target`, without junk and a manifest.

    A link to a file is copied as the file; links to folders are not followed. Raises UserError for an unreadable file.
    """
    names, skipped = [], 0
    for folder, subfolders, files in os.walk(source):
        skipped += sum(Path(folder, name).is_symlink() for name in subfolders)
        subfolders[:] = [name for name in subfolders if not is_junk(name)]
        found = [path for name in files if (path := Path(folder, name)) != source / MANIFEST]
        usable = [path.relative_to(source).as_posix() for path in found if not is_junk(path.name) and path.is_file()]
        skipped += len(found) - len(usable)
        names += usable
    if skipped:
        print(f"left out: {skipped:,} hidden or system files, links to folders, and special files", flush=True)
    for name in progress(sorted(names), len(names), "copying", "files"):
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        try:
            shutil.copyfile(source / name, target / name)
        except PermissionError as error:
            raise UserError(f"{error.filename} cannot be read; change its permissions and run this again") from None


def is_archive(path: Path) -> bool:
    """Returns whether `path` is a zip or a tar (plain, .gz, .bz2 or .xz)."""
    try:
        return zipfile.is_zipfile(path) or tarfile.is_tarfile(path)
    except DAMAGE:
        return False


def unpack(archive: Path, target: Path, limit: int = MAX_UNPACKED) -> None:
    """Unpacks the files of a zip or tar into the empty folder `target`, without junk.

    Raises UserError for a member whose path is absolute or leaves the folder, a link or device, two members with one
    path, more than `limit` unpacked bytes (counted while reading, whatever the header says), an encrypted member, and
    a damaged archive. The caller removes what was written until then.
    """
    try:
        unpack_members = _unpack_zip if zipfile.is_zipfile(archive) else _unpack_tar
        unpack_members(archive, Unpacking(archive, target, limit))
    except (*DAMAGE, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # for example a full disk; what bz2 and gzip raise for damaged data has no number
        raise UserError(f"{archive} is damaged ({error}); fetch it again") from None


def strip_top_folder(folder: Path, keep: frozenset[str]) -> None:
    """Replaces `folder` by the folder in it if that is its only content and has no name in `keep`."""
    content = list(folder.iterdir())
    if len(content) == 1 and content[0].is_dir() and content[0].name.lower() not in keep:
        top = folder.with_name(f"{folder.name}.top")
        content[0].replace(top)
        folder.rmdir()
        top.replace(folder)


class Unpacking:
    """Writes an archive's members below a folder and limits their total size."""

    def __init__(self, archive: Path, target: Path, limit: int) -> None:
        self._archive, self._target, self._limit, self._left = archive, target, limit, limit

    def error(self, name: str, reason: str) -> UserError:
        """Returns the error for a member that must not be unpacked."""
        return UserError(f"{self._archive} was not ingested: {name!r} {reason}")

    def write(self, name: str, stream: IO[bytes]) -> None:
        """Writes one member; raises UserError when its path or its size is not allowed."""
        posix = PurePosixPath(name.replace("\\", "/"))
        if posix.is_absolute() or ".." in posix.parts or re.match("[A-Za-z]:", name):
            raise self.error(name, "points outside of the folder it is unpacked to")
        if is_junk(str(posix)) or str(posix) == MANIFEST:
            return
        path = self._target / posix
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("xb") as file:
                for data in self.counted(name, stream):
                    file.write(data)
        except (FileExistsError, NotADirectoryError):
            raise self.error(name, "is in the archive twice, or as a file and as a folder") from None

    def counted(self, name: str, stream: IO[bytes]) -> Iterator[bytes]:
        """Yields the stream's bytes; raises UserError once all streams together exceed the limit."""
        while data := stream.read(CHUNK):
            self._left -= len(data)
            self.check_size(name, 0)
            yield data

    def check_size(self, name: str, size: int) -> None:
        """Raises UserError when `size` more bytes exceed the limit, so that a large member is not even opened."""
        if size > self._left or self._left < 0:
            raise self.error(name, f"brings the unpacked bytes above {self._limit:,}; unpack it and give the folder")


def _unpack_zip(archive: Path, unpacking: Unpacking) -> None:
    with zipfile.ZipFile(archive) as opened:
        for info in opened.infolist():
            if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise unpacking.error(info.filename, "is a link or a device")
            if info.flag_bits & 1:
                raise unpacking.error(info.filename, "is encrypted; unpack it yourself and give the folder")
            if not info.is_dir():
                unpacking.check_size(info.filename, info.file_size)
                with opened.open(info) as stream:
                    unpacking.write(info.filename, stream)


def _unpack_tar(archive: Path, unpacking: Unpacking) -> None:
    with tarfile.open(archive) as opened:
        for member in opened:
            if not (member.isfile() or member.isdir()):
                raise unpacking.error(member.name, "is a link or a device")
            if (stream := opened.extractfile(member)) is not None:
                unpacking.check_size(member.name, member.size)
                unpacking.write(member.name, stream)
        # tarfile takes a broken header for the end; a whole archive ends in a block of zeros and a correct checksum.
        rest = cast(IO[bytes], opened.fileobj)
        rest.seek(opened.offset)
        if rest.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            raise tarfile.ReadError("it is cut short")
        for _ in unpacking.counted("its end", rest):
            pass
