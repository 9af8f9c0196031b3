"""The stage's work: every image decoded, checked, assigned to a split and packed, or the reason why not."""

from collections import Counter
from pathlib import Path

import numpy as np

from tasks.common.cli import Progress
from tasks.common.errors import UserError
from tasks.common.files import replacing, sha256_file, write_json
from tasks.common.params import PreprocessSettings
from tasks.ingest.raw import RawManifest, check_raw
from tasks.preprocess.dataset import MANIFEST, Manifest, SplitName
from tasks.preprocess.decoding import Block, decoded
from tasks.preprocess.images import CHANNELS
from tasks.preprocess.listing import list_raw
from tasks.preprocess.shards import SplitWriter
from tasks.preprocess.splits import Bounds, carved_bounds, declared_splits, split_of

SPLITS: tuple[SplitName, ...] = ("train", "validation", "test")
QUARANTINE = "quarantine.json"
MIN_HELD_OUT = 4  # the kernel distance compares two halves of the test images


def preprocess(
    raw: Path, prepared: Path, settings: PreprocessSettings, workers: int | None = None
) -> dict[str, object]:
    """Packs the images of `raw` into `prepared`, uint8 NCHW by split, and returns counts for the receipt.

    Raises UserError when `raw` is not as ingest left it, when too many images must be refused, or too few are left;
    `prepared` then stays as it was. `workers` does not change a byte of the result.
    """
    source = check_raw(raw)
    listing = list_raw(raw, source, settings)
    declared = declared_splits(listing)
    with replacing(prepared) as folder:
        folder.mkdir()
        packing = Packing(folder, settings, carved_bounds(declared, settings))
        with Progress(len(listing), "decoding") as shown:
            for block in decoded(raw, listing, source, settings, workers):
                packing.add(block)
                shown.advance(block.seen)
        manifest = packing.finish(source, official="test" in declared)
        write_json(folder / MANIFEST, manifest.model_dump())
    print(summary(manifest, prepared), flush=True)
    counts: dict[str, object] = {name: split.count for name, split in manifest.splits.items()}
    return {"images": len(listing), "rejected": sum(manifest.rejected.values()), **counts}


def summary(manifest: Manifest, prepared: Path) -> str:
    """What was packed and what was left out, in a line each."""
    splits = ", ".join(f"{split.count:,} {name}" for name, split in manifest.splits.items())
    labels = f"{len(manifest.labels)} labels" if manifest.labels else "no labels"
    size, rejected = manifest.size, Counter(manifest.rejected)
    lines = [f"packed in {manifest.color}, {size}x{size} pixels: {splits}; {labels}"]
    if rejected:
        files = f"{rejected.total():,} {'file' if rejected.total() == 1 else 'files'}"
        lines.append(f"left out {files} ({_listed(rejected)}); {prepared / QUARANTINE} names them")
    return "\n".join(lines)


def _listed(reasons: Counter[str]) -> str:
    return ", ".join(f"{count:,} {reason}" for reason, count in sorted(reasons.items()))


class Packing:
    """Takes decoded images one block after another and packs each split on its own."""

    def __init__(self, folder: Path, settings: PreprocessSettings, bounds: Bounds) -> None:
        self._folder, self._settings, self._bounds = folder, settings, bounds
        shape = (CHANNELS[settings.color], settings.size, settings.size)
        self._writers = {name: SplitWriter(folder, name, shape, settings.shard_mib * 2**20) for name in SPLITS}
        self._rejected: list[tuple[str, str]] = []

    def add(self, block: Block) -> None:
        """Packs the images of one block."""
        self._rejected += block.rejected
        pairs = zip(block.images, block.official, strict=True)
        splits = np.array([split_of(image, official, self._bounds) for image, official in pairs], dtype=object)
        for name, writer in self._writers.items():
            chosen = np.flatnonzero(splits == name)
            if len(chosen):
                writer.append(block.images[chosen], [block.labels[index] for index in chosen])

    def finish(self, source: RawManifest, official: bool) -> Manifest:
        """Checks that enough is left, writes the rest and describes everything."""
        self._refuse_damage()
        self._refuse_scarcity()
        names = self._label_names(source)
        files = [{"file": file, "reason": reason} for file, reason in sorted(self._rejected)]
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
            rejected=dict(self._reasons()),
            quarantine=sha256_file(self._folder / QUARANTINE),
        )

    def _reasons(self) -> Counter[str]:
        return Counter(reason for _, reason in self._rejected)

    def _label_names(self, source: RawManifest) -> list[str]:
        """Every label's name, in the data set's order or sorted; none unless all images have one of at least two."""
        found = {label for writer in self._writers.values() for label in writer.labels}
        names = {label for label in found if label is not None}
        if len(names) < 2 or len(names) < len(found):
            return []
        if source.labels is not None and names <= set(source.labels):
            return source.labels
        return sorted(names, key=lambda name: (name.zfill(20) if name.isdigit() else name, name))

    def _refuse_damage(self) -> None:
        total = len(self._rejected) + sum(len(writer) for writer in self._writers.values())
        if len(self._rejected) <= self._settings.max_rejected * total:
            return
        first = ", ".join(file for file, _ in sorted(self._rejected)[:3])
        raise UserError(
            f"{len(self._rejected):,} of {total:,} images in data/raw cannot be used "
            f"({_listed(self._reasons())}; such as {first}); "
            "mend or remove them, or raise preprocess.max_rejected in params.yaml"
        )

    def _refuse_scarcity(self) -> None:
        needed = {"train": self._settings.min_images, "validation": MIN_HELD_OUT, "test": MIN_HELD_OUT}
        for name, writer in self._writers.items():
            if len(writer) < needed[name]:
                raise UserError(
                    f"only {len(writer):,} usable images fall to the split `{name}`, which needs {needed[name]:,}; "
                    "add images, or change min_images or the split's share under preprocess in params.yaml"
                )
