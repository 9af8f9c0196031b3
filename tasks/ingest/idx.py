"""The idx format of MNIST: a header with the shape, then the values (yann.lecun.com/exdb/mnist).

Header, big-endian: two zero bytes, the type (8: uint8), the number of axes, then the length of each axis as uint32.
"""

import gzip
import math
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

import numpy as np
import numpy.typing as npt

from tasks.common.errors import UserError

UINT8 = 8
UInt8Array = npt.NDArray[np.uint8]


def write_idx(path: Path, values: UInt8Array) -> None:
    """Writes uint8 values of any shape."""
    header = struct.pack(f">HBB{values.ndim}I", 0, UINT8, values.ndim, *values.shape)
    path.write_bytes(header + np.ascontiguousarray(values, np.uint8).tobytes())


def idx_shape(path: Path, axes: int) -> tuple[int, ...]:
    """Returns the shape in the header, of a plain or .gz file; raises UserError unless it is uint8 with `axes` axes."""
    with _opened(path) as file:
        return _shape(file, path, axes)


def read_idx(path: Path, axes: int) -> UInt8Array:
    """Returns all values, uint8; raises UserError when the file is damaged."""
    blocks = list(idx_blocks(path, axes, block=2**20))
    return np.concatenate(blocks) if blocks else np.empty(idx_shape(path, axes), np.uint8)


def idx_blocks(path: Path, axes: int, block: int) -> Iterator[UInt8Array]:
    """Yields the values in order, uint8, up to `block` along the first axis; raises UserError for a damaged file."""
    with _opened(path) as file:
        count, *rest = _shape(file, path, axes)
        for start in range(0, count, block):
            shape = (min(block, count - start), *rest)
            data = file.read(math.prod(shape))
            if len(data) != math.prod(shape):
                raise UserError(f"{path} is cut short: its header promises {count:,} items; fetch the file again")
            yield np.frombuffer(data, np.uint8).reshape(shape)
        if file.read(1):
            raise UserError(f"{path} is longer than its header says; fetch the file again")


def _shape(file: IO[bytes], path: Path, axes: int) -> tuple[int, ...]:
    header = file.read(4 + 4 * axes)
    if len(header) < 4 + 4 * axes or header[:4] != bytes([0, 0, UINT8, axes]):
        raise UserError(f"{path} is not an idx file of uint8 values with {axes} axes; fetch the file again")
    return struct.unpack(f">{axes}I", header[4:])


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    try:
        with path.open("rb") as file:
            yield cast(IO[bytes], gzip.GzipFile(fileobj=file)) if path.suffix == ".gz" else file
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(f"{path} is damaged ({error}); fetch the file again") from None
