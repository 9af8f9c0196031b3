"""Reads data/prepared: memory-mapped uint8 images by split, and the manifest that describes them."""

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from io import FileIO
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ValidationError

from tasks.common.errors import UserError
from tasks.common.files import sha256_file

PREPARED = Path("data/prepared")
MANIFEST = "manifest.json"
MAX_MAPPED = 2**29  # bytes of a split
OPEN_FILES = 256
SplitName = Literal["train", "validation", "test"]
Images = npt.NDArray[np.uint8]
Indices = npt.NDArray[np.int64]


class Record(BaseModel, extra="forbid", frozen=True):
    """Base of the manifest's parts."""


class ShardRecord(Record):
    """A file of images, its path relative to data/prepared."""

    file: str
    count: int
    sha256: str


class LabelsRecord(Record):
    """The file of a split's label ids, its path relative to data/prepared."""

    file: str
    sha256: str


class SplitRecord(Record):
    """The content of a split; `per_label` counts images in the order of the manifest's labels."""

    count: int
    per_label: list[int]
    shards: list[ShardRecord]
    labels: LabelsRecord | None


class Manifest(Record):
    """data/prepared/manifest.json; `mean` and `std` are the training split's, per channel, of values in [0, 1]."""

    source: str
    size: int
    channels: int
    color: Literal["grey", "rgb"]
    labels: list[str]
    official_splits: bool
    splits: dict[SplitName, SplitRecord]
    mean: list[float]
    std: list[float]
    rejected: dict[str, int]
    quarantine: str


class Split:
    """The images of one split, in a fixed order, read from disk on demand.

    Shards are memory-mapped. A split larger than MAX_MAPPED is read image by image instead, because every page of a map
    that was read counts as this process's memory until another process needs it.
    """

    def __init__(self, folder: Path, record: SplitRecord, shape: tuple[int, int, int]) -> None:
        self._folder, self._record = folder, record
        self._shards = [_mapped(folder / shard.file, (shard.count, *shape)) for shard in record.shards]
        self._starts = np.cumsum([0, *(shard.count for shard in record.shards)])
        self._read = self._from_files if record.count * math.prod(shape) > MAX_MAPPED else self._from_maps
        self._file = lru_cache(OPEN_FILES)(lambda shard: FileIO(folder / record.shards[shard].file))
        self.shape = shape

    def __len__(self) -> int:
        return self._record.count

    @cached_property
    def labels(self) -> Indices | None:
        """Label ids, int64 [n]; None if the images have no labels."""
        if self._record.labels is None:
            return None
        return np.array(_mapped(self._folder / self._record.labels.file, (len(self),)))

    def gather(self, indices: npt.ArrayLike) -> Images:
        """Returns the images at `indices`, in that order, uint8 [n, C, H, W]; raises IndexError outside of 0..len-1."""
        rows = np.asarray(indices, np.int64)
        if rows.size and not (rows.min() >= 0 and rows.max() < len(self)):
            raise IndexError(f"image {rows.min()} or {rows.max()} of {len(self)}")
        shards = np.searchsorted(self._starts, rows, side="right") - 1
        images = np.empty((len(rows), *self.shape), np.uint8)
        for shard in np.unique(shards):
            here = shards == shard
            images[here] = self._read(int(shard), rows[here] - self._starts[shard])
        return images

    def blocks(self, size: int) -> Iterator[Images]:
        """Yields all images in order, in blocks uint8 [<=size, C, H, W]."""
        for start in range(0, len(self), size):
            yield self.gather(np.arange(start, min(start + size, len(self))))

    def _from_maps(self, shard: int, rows: Indices) -> npt.NDArray[np.generic]:
        return self._shards[shard][rows]

    def _from_files(self, shard: int, rows: Indices) -> npt.NDArray[np.generic]:
        file, size, start = self._file(shard), math.prod(self.shape), self._shards[shard].offset
        data = b"".join([os.pread(file.fileno(), size, start + row * size) for row in rows.tolist()])
        return np.frombuffer(data, np.uint8).reshape(-1, *self.shape)


@dataclass(frozen=True)
class Prepared:
    """data/prepared: its manifest, its splits, and the manifest's SHA-256, which identifies all content."""

    folder: Path
    manifest: Manifest
    hash: str

    @property
    def train_counts(self) -> list[int]:
        """The number of training images of each label; empty without labels."""
        return self.manifest.splits["train"].per_label

    def split(self, name: SplitName) -> Split:
        """Opens one split; raises UserError when a file of it is missing or cut short."""
        shape = (self.manifest.channels, self.manifest.size, self.manifest.size)
        return Split(self.folder, self.manifest.splits[name], shape)


def open_prepared(folder: Path = PREPARED) -> Prepared:
    """Opens data/prepared; raises UserError when its manifest is missing or damaged."""
    path = folder / MANIFEST
    if not path.is_file():
        raise UserError(f"{path} is missing; `dvc repro preprocess` makes it")
    try:
        manifest = Manifest.model_validate_json(path.read_bytes())
    except ValidationError:
        raise UserError(f"{path} is damaged; {_remedy(folder)}") from None
    return Prepared(folder, manifest, sha256_file(path))


def _mapped(path: Path, shape: tuple[int, ...]) -> np.memmap[Any, np.dtype[Any]]:
    try:
        values = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        raise UserError(f"{path} is missing or cut short; {_remedy(path.parent)}") from None
    if values.shape != shape:
        raise UserError(f"{path} holds an array {values.shape}, but its manifest says {shape}; {_remedy(path.parent)}")
    assert isinstance(values, np.memmap)
    return values


def _remedy(folder: Path) -> str:
    return f"delete {folder} and run `dvc repro preprocess`"
