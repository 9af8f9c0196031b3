"""Decodes images on all cores, in the order of the listing, with a limited number of images in memory."""

import multiprocessing
import os
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
from tasks.ingest.idx import UInt8Array, idx_blocks, read_idx
from tasks.ingest.raw import RawManifest
from tasks.preprocess.dataset import SplitName
from tasks.preprocess.images import CHANNELS, ImageError, as_array, centre_square, decode_image, flatten
from tasks.preprocess.listing import IdxFile, ImageFile, Listing

FILES_PER_JOB = 64
IDX_IMAGES_PER_JOB = 4096

Job = TypeVar("Job")
Result = TypeVar("Result")


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
    if file.shape[1:] == (settings.size, settings.size):  # nothing to resize, so processes would only cost time
        workers = 1
    done = 0
    for images in parallel_map(partial(_fit, settings), blocks, workers):
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
    kept: list[ImageFile] = []
    rejected: dict[str, str] = {}
    for file in files:
        try:
            images.append(decode_image(folder / file.name, settings))
            kept.append(file)
        except ImageError as reason:
            rejected[file.name] = str(reason)
    shape = (len(images), CHANNELS[settings.color], settings.size, settings.size)
    packed = np.stack(images) if images else np.empty(shape, np.uint8)
    return Block(packed, [file.official for file in kept], [file.label for file in kept], rejected)


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
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_exit_after_parent, daemon=True).start()


def _exit_after_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
