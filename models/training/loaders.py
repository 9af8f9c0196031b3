"""Loaders, which bring training images to the device without worker processes.

A batch depends on (seed, n_images) alone; the loaders differ only in where the images are stored.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from models.pixels import to_model
from models.training.device import Mode
from models.training.learner import Images
from models.training.random import Sampler

RawBatch = tuple[Tensor, Tensor | None]  # images uint8 [N, C, H, W] and labels int64 [N] or None
AHEAD = 4  # batches that `Prefetched` loads in advance
EVALUATION_BATCH = 512


class Loader(Protocol):
    """A source of batches; `description` tells the user where the images are stored."""

    description: str

    def fetch(self, n_images: int, count: int) -> RawBatch:
        """Returns the `count` images from `n_images` on, and their labels, on the device; valid until the next call."""


def make_loader(images: Images, sampler: Sampler, device: torch.device, share: float) -> Loader:
    """Returns the loader for a device; on a GPU the images stay there if they fit in `share` of its memory."""
    if device.type != "cuda":
        return MemoryMapped(images, sampler)
    size, memory = len(images) * int(np.prod(images.shape)), torch.cuda.get_device_properties(device).total_memory
    return OnDevice(images, sampler, device) if size <= share * memory else Prefetched(images, sampler, device)


def evaluation_batches(images: Images, mode: Mode) -> Iterator[tuple[np.ndarray, Tensor]]:
    """Yields indices int64 [n] and images float32 [n, C, H, W] in [-1, 1] on the device, each image once, in order."""
    for start in range(0, len(images), EVALUATION_BATCH):
        rows = np.arange(start, min(start + EVALUATION_BATCH, len(images)))
        yield rows, mode.place(to_model(torch.from_numpy(images.gather(rows))))


class MemoryMapped:
    """Gathers each batch from the memory-mapped files when it is needed: the loader for a CPU."""

    description = "memory-mapped shards"

    def __init__(self, images: Images, sampler: Sampler) -> None:
        self._images, self._sampler = images, sampler

    def fetch(self, n_images: int, count: int) -> RawBatch:
        """See Loader."""
        rows = self._sampler.batch(n_images, count)
        labels = self._images.labels
        return torch.from_numpy(self._images.gather(rows)), None if labels is None else torch.from_numpy(labels[rows])


class OnDevice:
    """Keeps all images on the device as bytes and gathers batches there."""

    BLOCK = 4096  # images per copy to the device

    def __init__(self, images: Images, sampler: Sampler, device: torch.device) -> None:
        self.description = f"all images on {device}"
        self._sampler, self._device = sampler, device
        self._images = torch.empty((len(images), *images.shape), dtype=torch.uint8, device=device)
        for start in range(0, len(images), self.BLOCK):
            rows = np.arange(start, min(start + self.BLOCK, len(images)))
            self._images[start : start + len(rows)] = torch.from_numpy(images.gather(rows)).to(device)
        self._labels = None if images.labels is None else torch.from_numpy(images.labels).to(device)
        self._epoch, self._order = -1, torch.empty(0, dtype=torch.int64)

    def fetch(self, n_images: int, count: int) -> RawBatch:
        """See Loader."""
        rows = torch.cat([*self._rows(n_images, count)])
        return self._images[rows], None if self._labels is None else self._labels[rows]

    def _rows(self, n_images: int, count: int) -> Iterator[Tensor]:
        for epoch, start, stop in self._sampler.spans(n_images, count):
            if epoch != self._epoch:
                self._epoch, self._order = epoch, torch.from_numpy(self._sampler.order(epoch)).to(self._device)
            yield self._order[start:stop]


@dataclass
class Slot:
    """Buffers for one batch on host and device, with the events after which each may be overwritten."""

    host: RawBatch
    device: RawBatch
    copied: torch.cuda.Event | None = None  # the host buffer was copied to the device
    used: torch.cuda.Event | None = None  # the step on the device buffer is done


class Prefetched:
    """Gathers batches in a thread, in advance, and copies them to the device from page-locked memory.

    It needs device memory for AHEAD batches, whatever the size of the data set.
    """

    def __init__(self, images: Images, sampler: Sampler, device: torch.device) -> None:
        self.description = f"images prefetched to {device}, {AHEAD} batches ahead"
        self._images, self._sampler, self._device = images, sampler, device
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="loader")
        self._pending: deque[tuple[int, Future[Slot]]] = deque()  # with n_images
        self._count, self._free = 0, deque[Slot]()
        self._current: Slot | None = None  # holds the batch that was returned last

    def fetch(self, n_images: int, count: int) -> RawBatch:
        """See Loader. A call that does not continue the sequence discards what was prefetched."""
        self._release()
        if count != self._count or not self._pending or self._pending[0][0] != n_images:
            self._restart(n_images, count)
        slot = self._pending.popleft()[1].result()
        if slot.copied is not None:
            torch.cuda.current_stream(self._device).wait_event(slot.copied)
        self._current = slot
        return slot.device

    def _restart(self, n_images: int, count: int) -> None:
        while self._pending:
            self._free.append(self._pending.popleft()[1].result())
        if count != self._count:
            self._count = count
            self._free = deque(self._new_slot() for _ in range(AHEAD))
            if self._stream is not None:
                # The allocator may have reused memory that work on the current stream still reads.
                self._stream.wait_stream(torch.cuda.current_stream(self._device))
        for number in range(len(self._free)):
            self._submit(n_images + number * count)

    def _new_slot(self) -> Slot:
        def buffers(shape: Sequence[int], dtype: torch.dtype) -> tuple[Tensor, Tensor]:
            host = torch.empty(shape, dtype=dtype, pin_memory=self._stream is not None)
            device = torch.empty(shape, dtype=dtype, device=self._device)
            if self._stream is not None and device.is_cuda:
                device.record_stream(self._stream)  # when the loader is dropped, pending copies finish first
            return host, device

        images = buffers((self._count, *self._images.shape), torch.uint8)
        labels = (None, None) if self._images.labels is None else buffers((self._count,), torch.int64)
        return Slot((images[0], labels[0]), (images[1], labels[1]))

    def _release(self) -> None:
        """Frees the slot of the last batch once the device has finished the work queued so far."""
        if self._current is None:
            return
        slot, self._current = self._current, None
        if self._stream is not None:
            slot.used = torch.cuda.Event()  # type: ignore[no-untyped-call]
            slot.used.record(torch.cuda.current_stream(self._device))
        self._free.append(slot)
        if self._pending:
            self._submit(self._pending[-1][0] + self._count)

    def _submit(self, n_images: int) -> None:
        self._pending.append((n_images, self._thread.submit(self._fill, self._free.popleft(), n_images)))

    def _fill(self, slot: Slot, n_images: int) -> Slot:
        if slot.copied is not None:
            slot.copied.synchronize()  # before the host buffer is overwritten
        rows, (images, labels) = self._sampler.batch(n_images, self._count), slot.host
        images.numpy()[:] = self._images.gather(rows)
        if labels is not None and self._images.labels is not None:
            labels.numpy()[:] = self._images.labels[rows]
        with torch.cuda.stream(self._stream) if self._stream is not None else nullcontext():
            if self._stream is not None and slot.used is not None:
                self._stream.wait_event(slot.used)
            for source, target in zip(slot.host, slot.device, strict=True):
                if source is not None and target is not None:
                    target.copy_(source, non_blocking=True)
            if self._stream is not None:
                slot.copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
                slot.copied.record(self._stream)
        return slot
