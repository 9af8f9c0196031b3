"""Helpers of the tests of preprocess: folders of noise images, and data/prepared made from them."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tasks.common.params import PreprocessSettings
from tasks.ingest.raw import build_manifest, write_manifest
from tasks.preprocess.dataset import Prepared, open_prepared
from tasks.preprocess.prepare import preprocess

SETTINGS = PreprocessSettings(
    size=28, color="grey", min_side=8, max_pixels=100_000, max_rejected=0.1, min_images=20, validation=0.1, test=0.2,
    shard_mib=1,
)  # fmt: skip


def noise(*shape: int, seed: int) -> np.ndarray:
    """Returns random uint8 values of any shape, which depend on the seed."""
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


def draw(folder: Path, count: int, first: int = 0) -> None:
    """Writes `count` different noise images, named by their seeds from `first`."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed in range(first, first + count):
        Image.fromarray(noise(28, 28, seed=seed)).save(folder / f"{seed:04d}.png")


def draw_raw(folder: Path) -> Path:
    """Writes 120 images without labels and the manifest that ingest would write; returns the folder."""
    draw(folder, 120)
    write_manifest(folder, build_manifest(folder, "folder", None))
    return folder


def prepare(raw: Path, prepared: Path, labels: list[str] | None = None, workers: int = 1, **changes: Any) -> Prepared:
    """Writes the manifest of `raw` as ingest would, and runs the stage with `changes` of its parameters."""
    write_manifest(raw, build_manifest(raw, "folder", labels))
    preprocess(raw, prepared, SETTINGS.model_copy(update=changes), workers)
    return open_prepared(prepared)
