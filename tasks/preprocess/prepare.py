"""Decodes, checks, splits and packs every image of data/raw, or records why it was rejected."""

import hashlib
from collections import Counter
from itertools import accumulate
from pathlib import Path

import numpy as np

from tasks.common.cli import Progress
from tasks.common.errors import UserError
from tasks.common.files import replacing, sha256_file, write_json
from tasks.common.params import PreprocessSettings
from tasks.ingest.idx import UInt8Array
from tasks.ingest.raw import RawManifest, check_raw
from tasks.preprocess.dataset import MANIFEST, Manifest, SplitName
from tasks.preprocess.decoding import Block, decode_all, list_raw
from tasks.preprocess.images import CHANNELS
from tasks.preprocess.shards import SplitWriter

SPLITS: tuple[SplitName, ...] = ("train", "validation", "test")
QUARANTINE = "quarantine.json"
HELD_OUT: tuple[SplitName, ...] = ("test", "validation")
MIN_HELD_OUT = 4  # images; the kernel distance compares two halves of the test images
Bounds = list[tuple[SplitName, float]]


def preprocess(
    raw: Path, prepared: Path, settings: PreprocessSettings, workers: int | None = None
) -> dict[str, object]:
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
    counts: dict[str, object] = {name: split.count for name, split in manifest.splits.items()}
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
        mean, std = self._writers["train"].moments()
        return Manifest(
            source=source.source,
            size=self._settings.size,
            channels=CHANNELS[self._settings.color],
            color=self._settings.color,
            labels=names,
            official_splits=official,
            splits={name: writer.finish(names) for name, writer in self._writers.items()},
            mean=mean,
            std=std,
            rejected=dict(Counter(self._rejected.values())),
            quarantine=sha256_file(self._folder / QUARANTINE),
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
            first = ", ".join(sorted(self._rejected)[:3])
            raise UserError(
                f"{len(self._rejected):,} of {total:,} images in data/raw cannot be used "
                f"({_listed(Counter(self._rejected.values()))}; such as {first}); "
                "repair or remove them, or raise preprocess.max_rejected in params.yaml"
            )
        for name, writer in self._writers.items():
            needed = MIN_HELD_OUT if name in HELD_OUT else self._settings.min_images
            if len(writer) < needed:
                raise UserError(
                    f"the split `{name}` has only {len(writer):,} usable images and needs {needed:,}; "
                    "add images, or change min_images or the split's share under preprocess in params.yaml"
                )
