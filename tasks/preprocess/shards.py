"""Packs a split into .npy files of limited size, and computes its statistics."""

import math
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tasks.common.files import sha256_file
from tasks.ingest.idx import UInt8Array
from tasks.preprocess.dataset import LabelsRecord, ShardRecord, SplitName, SplitRecord

HEADER_BYTES = 256  # upper limit; numpy's header of a shard has 128


class SplitWriter:
    """Writes one split to `folder`/`name`, in the order of appending, with at most one shard in memory."""

    def __init__(self, folder: Path, name: SplitName, shape: tuple[int, int, int], shard_bytes: int) -> None:
        self._folder = folder / name
        self._folder.mkdir()
        capacity = max(1, (shard_bytes - HEADER_BYTES) // int(np.prod(shape)))
        self._shard, self._filled = np.empty((capacity, *shape), np.uint8), 0
        self._records: list[ShardRecord] = []
        self._histograms = np.zeros((shape[0], 256), np.int64)
        self.labels: list[str | None] = []

    def __len__(self) -> int:
        return len(self.labels)

    def append(self, images: UInt8Array, labels: list[str | None]) -> None:
        """Appends images, uint8 [n, C, H, W], and their labels."""
        self.labels += labels
        for channel, histogram in enumerate(self._histograms):
            histogram += np.bincount(images[:, channel].ravel(), minlength=256)
        while len(images):
            count = min(len(images), len(self._shard) - self._filled)
            self._shard[self._filled : self._filled + count] = images[:count]
            self._filled += count
            if self._filled == len(self._shard):
                self._write_shard()
            images = images[count:]

    def finish(self, names: list[str]) -> SplitRecord:
        """Writes the last shard and, if there are `names`, the labels as their indices; returns the split's record."""
        if self._filled:
            self._write_shard()
        if not names:
            return SplitRecord(count=len(self), per_label=[], shards=self._records, labels=None)
        id_of = {name: id_ for id_, name in enumerate(names)}
        ids = np.array([id_of[label] for label in self.labels if label is not None], np.int64)
        labels = LabelsRecord(**self._save("labels.npy", ids))
        counts = np.bincount(ids, minlength=len(names)).tolist()
        return SplitRecord(count=len(self), per_label=counts, shards=self._records, labels=labels)

    def moments(self) -> tuple[list[float], list[float]]:
        """Returns mean and standard deviation per channel of values in [0, 1]; integer sums make them exact."""
        means, deviations = [], []
        for histogram in self._histograms.tolist():
            powers = (sum(value**power * times for value, times in enumerate(histogram)) for power in range(3))
            count, first, second = powers
            means.append(first / (255 * count))
            deviations.append(math.sqrt(count * second - first**2) / (255 * count))
        return means, deviations

    def _write_shard(self) -> None:
        saved = self._save(f"images-{len(self._records):05d}.npy", self._shard[: self._filled])
        self._records.append(ShardRecord(count=self._filled, **saved))
        self._filled = 0

    def _save(self, name: str, values: npt.NDArray[np.generic]) -> dict[str, str]:
        """Writes an array as .npy; unlike `np.save`, it keeps the error number of a full disk."""
        path = self._folder / name
        with path.open("wb") as file:
            np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(values))
            file.write(values.tobytes())
        return {"file": f"{self._folder.name}/{name}", "sha256": sha256_file(path)}
