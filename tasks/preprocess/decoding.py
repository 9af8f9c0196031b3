"""Lists the images of data/raw and decodes them on all cores, in this order, with a limited number in memory."""

import multiprocessing
import os
import re
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image

from tasks.common.errors import UserError
from tasks.common.params import PreprocessSettings
from tasks.ingest.idx import UInt8Array, idx_blocks, idx_shape, read_idx
from tasks.ingest.raw import RawManifest, is_junk
from tasks.preprocess.dataset import SplitName
from tasks.preprocess.images import CHANNELS, ImageError, as_array, centre_square, decode_image, flatten

FILES_PER_JOB = 64
IDX_IMAGES_PER_JOB = 4096
IDX = re.compile(r"-idx[13]-ubyte(\.gz)?$")
OFFICIAL: dict[str, SplitName] = {"train": "train", "test": "test", "t10k": "test"}  # splits by folder or prefix
OFFICIAL |= {"val": "validation", "validation": "validation"}

Job = TypeVar("Job")
Result = TypeVar("Result")


@dataclass(frozen=True)
class ImageFile:
    """A file of one image, its path relative to data/raw; its label is the name of the class folder."""

    name: str
    official: SplitName | None
    label: str | None


@dataclass(frozen=True)
class IdxFile:
    """A file of many images and the file of their labels, paths relative to data/raw; `shape` is (N, H, W)."""

    name: str
    labels: str | None
    official: SplitName | None
    shape: tuple[int, int, int]


@dataclass(frozen=True)
class Listing:
    """All files in the order in which their images are packed; `len` counts the images, readable or not."""

    idx: list[IdxFile]
    images: list[ImageFile]

    def __len__(self) -> int:
        return sum(file.shape[0] for file in self.idx) + len(self.images)


def list_raw(folder: Path, manifest: RawManifest, settings: PreprocessSettings) -> Listing:
    """Separates the idx files of data/raw from the others; raises UserError for idx files that cannot be used."""
    names = sorted(name for name in manifest.files if not is_junk(name))
    found = {name for name in names if IDX.search(name)}
    idx = {name for name in found if not name.endswith(".gz") or name.removesuffix(".gz") not in found}
    images = [_image_file(name) for name in names if name not in found]
    return Listing([_idx_file(folder, name, idx, settings) for name in sorted(idx) if "-idx3-" in name], images)


def _idx_file(folder: Path, name: str, names: set[str], settings: PreprocessSettings) -> IdxFile:
    count, height, width = idx_shape(folder / name, axes=3)
    if min(height, width) < settings.min_side or height * width > settings.max_pixels:
        limits = "preprocess.min_side or preprocess.max_pixels in params.yaml"
        raise UserError(f"the images of {folder / name} have {width} x {height} pixels, which {limits} rejects")
    plain = name.removesuffix(".gz").replace("images", "labels").replace("-idx3-", "-idx1-")
    labels = next((other for other in (plain, f"{plain}.gz") if other in names), None)
    if labels is not None and idx_shape(folder / labels, axes=1) != (count,):
        raise UserError(f"{folder / labels} does not have a label for each of the {count:,} images in {name}")
    *folders, file = name.lower().split("/")
    official = OFFICIAL.get(folders[0]) if folders else None
    return IdxFile(name, labels, official or OFFICIAL.get(file.split("-")[0]), (count, height, width))


def _image_file(name: str) -> ImageFile:
    *folders, _ = name.split("/")
    official = OFFICIAL.get(folders[0].lower()) if folders else None
    classes = folders if official is None else folders[1:]
    return ImageFile(name, official, classes[0] if classes else None)


@dataclass(frozen=True)
class Block:
    """Decoded images, uint8 [n, C, size, size], each with its declared split and label; reasons by rejected file."""

    images: UInt8Array
    official: list[SplitName | None]
    labels: list[str | None]
    rejected: dict[str, str]

    def __len__(self) -> int:
        """Returns the number of images, decoded or rejected."""
        return len(self.images) + len(self.rejected)


def decode_all(
    folder: Path, listing: Listing, manifest: RawManifest, settings: PreprocessSettings, workers: int | None = None
) -> Iterator[Block]:
    """Yields all images of the listing, in its order, decoded by `workers` processes, by default one per core."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()  # macOS: all cores
    workers = workers or cores or 1
    for file in listing.idx:
        yield from _idx_images(folder, file, manifest, settings, workers)
    chunks = [listing.images[start : start + FILES_PER_JOB] for start in range(0, len(listing.images), FILES_PER_JOB)]
    yield from parallel_map(partial(_decode_files, folder, settings), chunks, min(workers, len(chunks)))


def _idx_images(
    folder: Path, file: IdxFile, manifest: RawManifest, settings: PreprocessSettings, workers: int
) -> Iterator[Block]:
    labels = _idx_labels(folder, file, manifest.labels)
    blocks = idx_blocks(folder / file.name, axes=3, block=IDX_IMAGES_PER_JOB)
    fits = file.shape[1:] == (settings.size, settings.size)  # then processes would only cost time
    done = 0
    for images in parallel_map(partial(_fit, settings), blocks, 1 if fits else workers):
        yield Block(images, [file.official] * len(images), labels[done : done + len(images)], {})
        done += len(images)


def _idx_labels(folder: Path, file: IdxFile, names: list[str] | None) -> list[str | None]:
    if file.labels is None:
        return [None] * file.shape[0]
    ids = read_idx(folder / file.labels, axes=1).tolist()
    if names is not None and ids and max(ids) >= len(names):
        raise UserError(f"{folder / file.labels} has label {max(ids)}, but only {len(names)} labels have names")
    return [str(id_) if names is None else names[id_] for id_ in ids]


def _fit(settings: PreprocessSettings, images: UInt8Array) -> UInt8Array:
    """Converts grey images, uint8 [n, H, W], to uint8 [n, C, size, size]; images of that size keep their values."""
    if images.shape[1:] == (settings.size, settings.size):
        return np.repeat(images[:, None], CHANNELS[settings.color], axis=1)
    squares = (centre_square(Image.fromarray(image), settings.size) for image in images)
    return np.stack([as_array(flatten(square, settings.color)) for square in squares])


def _decode_files(folder: Path, settings: PreprocessSettings, files: list[ImageFile]) -> Block:
    images: list[UInt8Array] = []
    rejected: dict[str, str] = {}
    for file in files:
        try:
            images.append(decode_image(folder / file.name, settings))
        except ImageError as reason:
            rejected[file.name] = str(reason)
    kept = [file for file in files if file.name not in rejected]
    shape = (len(images), CHANNELS[settings.color], settings.size, settings.size)
    return Block(
        np.array(images, np.uint8).reshape(shape),
        [file.official for file in kept],
        [file.label for file in kept],
        rejected,
    )


def parallel_map(work: Callable[[Job], Result], jobs: Iterable[Job], workers: int) -> Iterator[Result]:
    """Maps `work` over `jobs` in order, with two jobs per process in progress; raises UserError if one is killed."""
    if workers <= 1:
        yield from map(work, jobs)
        return
    spawn = multiprocessing.get_context("spawn")  # a fork would copy the locks of other threads
    pool = ProcessPoolExecutor(workers, spawn, initializer=_die_with_parent)
    waiting: deque[Future[Result]] = deque()
    try:
        for job in jobs:
            waiting.append(pool.submit(work, job))
            if len(waiting) >= 2 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool:
        raise UserError(
            "a process that decodes images was killed, probably because the memory was exhausted; "
            "lower preprocess.max_pixels in params.yaml or use a machine with more memory"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def _die_with_parent() -> None:
    """Ends a worker when its parent is killed, for which it would wait forever; leaves interrupts to the parent."""

    def exit_after_parent() -> None:
        if (parent := multiprocessing.parent_process()) is not None:
            parent.join()
            os._exit(1)

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=exit_after_parent, daemon=True).start()
