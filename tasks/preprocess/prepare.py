"""Decodes, checks, splits and packs every image of data/raw, or records why it was rejected."""

import hashlib
import math
from collections import Counter
from itertools import accumulate
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tasks.common.cli import Progress
from tasks.common.errors import UserError
from tasks.common.files import replacing, sha256_file, write_json
from tasks.common.params import PreprocessSettings
from tasks.ingest.idx import UInt8Array
from tasks.ingest.raw import RawManifest, check_raw
from tasks.preprocess.dataset import MANIFEST, LabelsRecord, Manifest, ShardRecord, SplitName, SplitRecord
from tasks.preprocess.decoding import Block, decode_all, list_raw
from tasks.preprocess.images import CHANNELS

SPLITS: tuple[SplitName, ...] = ("train", "validation", "test")
QUARANTINE = "quarantine.json"
HELD_OUT: tuple[SplitName, ...] = ("test", "validation")
MIN_HELD_OUT = 4  # images; the kernel distance compares two halves of the test images
HEADER_BYTES = 256  # upper limit; numpy's header of a shard has 128
Bounds = list[tuple[SplitName, float]]


def preprocess(raw: Path, prepared: Path, settings: PreprocessSettings, workers: int | None = None) -> dict[str, int]:
    """Packs the images of `raw` into `prepared`, uint8 NCHW by split, and returns counts for the receipt.

    Raises UserError when `raw` was changed since ingest, when too many images are rejected, and when too few are left;
    `prepared` then stays as it was. The number of `workers` does not change the result.
    """
    source = check_raw(raw)
    listing = list_raw(raw, source, settings)
    declared = {file.official for file in listing.idx} | {file.official for file in listing.images}
    with replacing(prepared) as folder:
        folder.mkdir()
        packing = Packing(folder, settings, _split_bounds(declared, settings))
        with Progress(len(listing), "decoding") as shown:
            for block in decode_all(raw, listing, source, settings, workers):
                packing.add(block)
                shown.advance(len(block))
        manifest = packing.finish(source, official="test" in declared)
        write_json(folder / MANIFEST, manifest.model_dump())
    _print_summary(manifest, prepared)
    counts = {str(name): split.count for name, split in manifest.splits.items()}
    return {"images": len(listing), "rejected": sum(manifest.rejected.values()), **counts}


def _print_summary(manifest: Manifest, prepared: Path) -> None:
    splits = ", ".join(f"{split.count:,} {name}" for name, split in manifest.splits.items())
    labels = f"{len(manifest.labels)} labels" if manifest.labels else "no labels"
    size, rejected = manifest.size, Counter(manifest.rejected)
    print(f"packed in {manifest.color}, {size}x{size} pixels: {splits}; {labels}", flush=True)
    if rejected:
        files = f"{rejected.total():,} {'file' if rejected.total() == 1 else 'files'}"
        print(f"left out {files} ({_listed(rejected)}); {prepared / QUARANTINE} names them", flush=True)


def _listed(reasons: Counter[str]) -> str:
    return ", ".join(f"{count:,} {reason}" for reason, count in sorted(reasons.items()))


def _split_bounds(declared: set[SplitName | None], settings: PreprocessSettings) -> Bounds:
    """Returns the held-out splits that the data set does not declare, each with its upper bound of the hash."""
    names = [name for name in HELD_OUT if name not in declared]
    return list(zip(names, accumulate(getattr(settings, name) for name in names), strict=True))


def _split_of(image: UInt8Array, declared: SplitName | None, bounds: Bounds) -> SplitName:
    """Returns the split of an image, uint8 [C, H, W]: the declared one, or one by the hash of its values.

    The first eight bytes of their SHA-256 are a fraction of 1. Equal images are therefore in one split, and images that
    are added later move no other image to another split.
    """
    if declared in HELD_OUT:
        return declared
    fraction = int.from_bytes(hashlib.sha256(image.tobytes()).digest()[:8], "big") / 2**64
    return next((name for name, bound in bounds if fraction < bound), "train")


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

    def moments(self) -> dict[str, list[float]]:
        """Returns `mean` and `std`, per channel, of values in [0, 1]; integer sums make them exact."""
        means, deviations = [], []
        for histogram in self._histograms.tolist():
            powers = (sum(value**power * times for value, times in enumerate(histogram)) for power in range(3))
            count, first, second = powers
            means.append(first / (255 * count))
            deviations.append(math.sqrt(count * second - first**2) / (255 * count))
        return {"mean": means, "std": deviations}

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


class Packing:
    """Packs decoded images, block by block, into one writer per split."""

    def __init__(self, folder: Path, settings: PreprocessSettings, bounds: Bounds) -> None:
        self._folder, self._settings, self._bounds = folder, settings, bounds
        shape = (CHANNELS[settings.color], settings.size, settings.size)
        self._writers = {name: SplitWriter(folder, name, shape, settings.shard_mib * 2**20) for name in SPLITS}
        self._rejected: dict[str, str] = {}  # reasons by file

    def add(self, block: Block) -> None:
        """Packs the images of one block and records its rejected files."""
        self._rejected |= block.rejected
        pairs = zip(block.images, block.official, strict=True)
        splits = np.array([_split_of(image, official, self._bounds) for image, official in pairs], dtype=object)
        for name, writer in self._writers.items():
            chosen = np.flatnonzero(splits == name)
            if len(chosen):
                writer.append(block.images[chosen], [block.labels[index] for index in chosen])

    def finish(self, source: RawManifest, official: bool) -> Manifest:
        """Checks the numbers of rejected and usable images, writes what is left, and returns the manifest."""
        self._check_counts()
        names = self._label_names(source)
        files = [{"file": file, "reason": reason} for file, reason in sorted(self._rejected.items())]
        write_json(self._folder / QUARANTINE, files)
        return Manifest(
            source=source.source,
            size=self._settings.size,
            channels=CHANNELS[self._settings.color],
            color=self._settings.color,
            labels=names,
            official_splits=official,
            splits={name: writer.finish(names) for name, writer in self._writers.items()},
            rejected=dict(Counter(self._rejected.values())),
            quarantine=sha256_file(self._folder / QUARANTINE),
            **self._writers["train"].moments(),
        )

    def _label_names(self, source: RawManifest) -> list[str]:
        """Returns the labels in the data set's order or sorted; none unless each image has one and two occur."""
        found = {label for writer in self._writers.values() for label in writer.labels}
        names = {label for label in found if label is not None}
        if len(names) < 2 or len(names) < len(found):
            return []
        if source.labels is not None and names <= set(source.labels):
            return source.labels
        return sorted(names, key=lambda name: (name.zfill(20) if name.isdigit() else name, name))

    def _check_counts(self) -> None:
        total = len(self._rejected) + sum(len(writer) for writer in self._writers.values())
        if len(self._rejected) > self._settings.max_rejected * total:
            raise UserError(
                f"{len(self._rejected):,} of {total:,} images in data/raw cannot be used "
                f"({_listed(Counter(self._rejected.values()))}; such as {', '.join(sorted(self._rejected)[:3])}); "
                "repair or remove them, or raise preprocess.max_rejected in params.yaml"
            )
        for name, writer in self._writers.items():
            needed = MIN_HELD_OUT if name in HELD_OUT else self._settings.min_images
            if len(writer) < needed:
                raise UserError(
                    f"the split `{name}` has only {len(writer):,} usable images and needs {needed:,}; "
                    "add images, or change min_images or the split's share under preprocess in params.yaml"
                )
