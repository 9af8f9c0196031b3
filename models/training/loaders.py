"""How a training's images reach its device: no loader, no worker processes, the same batches by every way.

Which images a step sees follows from (seed, n_images) alone; a feed only decides where they wait.
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

from models.training.learner import Images
from models.training.random import Sampler

Raw = tuple[Tensor, Tensor | None]  # uint8 [N, C, H, W] and int64 [N], on the device
AHEAD = 4  # batches that a stream keeps ready


class Loader(Protocol):
    """Where batches come from; `place` says for people where the images wait."""

    description: str

    def fetch(self, n_images: int, count: int) -> Raw:
        """Images number `n_images` to `n_images + count - 1` of the endless sequence; good until the next call."""
        ...


def make_loader(images: Images, sampler: Sampler, device: torch.device, share: float) -> Loader:
    """The feed for `images`: on a GPU they move there if they take at most `share` of its memory, else they stream."""
    if device.type != "cuda":
        return MemoryMapped(images, sampler)
    size, room = len(images) * int(np.prod(images.shape)), torch.cuda.get_device_properties(device).total_memory
    return OnDevice(images, sampler, device) if size <= share * room else Prefetched(images, sampler, device)


class MemoryMapped:
    """Images are fetched from where they lie at the moment they are needed: right for a CPU."""

    description = "memory-mapped shards"

    def __init__(self, images: Images, sampler: Sampler) -> None:
        self._images, self._sampler = images, sampler

    def fetch(self, n_images: int, count: int) -> Raw:
        """See Feed."""
        rows = self._sampler.batch(n_images, count)
        labels = self._images.labels
        return torch.from_numpy(self._images.gather(rows)), None if labels is None else torch.from_numpy(labels[rows])


class OnDevice:
    """All images stay on the device as bytes and are gathered there; once an epoch its order is sent over."""

    BLOCK = 4096  # images per transfer

    def __init__(self, images: Images, sampler: Sampler, device: torch.device) -> None:
        self.description = f"all images on {device}"
        self._sampler, self._device = sampler, device
        self._images = torch.empty((len(images), *images.shape), dtype=torch.uint8, device=device)
        for start in range(0, len(images), self.BLOCK):
            rows = np.arange(start, min(start + self.BLOCK, len(images)))
            self._images[start : start + len(rows)] = torch.from_numpy(images.gather(rows)).to(device)
        self._labels = None if images.labels is None else torch.from_numpy(images.labels).to(device)
        self._epoch, self._order = -1, torch.empty(0, dtype=torch.int64)

    def fetch(self, n_images: int, count: int) -> Raw:
        """See Feed."""
        rows = torch.cat([*self._rows(n_images, count)])
        return self._images[rows], None if self._labels is None else self._labels[rows]

    def _rows(self, n_images: int, count: int) -> Iterator[Tensor]:
        for epoch, start, stop in self._sampler.spans(n_images, count):
            if epoch != self._epoch:
                self._epoch, self._order = epoch, torch.from_numpy(self._sampler.order(epoch)).to(self._device)
            yield self._order[start:stop]


@dataclass
class Slot:
    """Room for one batch on both sides, and on a GPU the events that say when either side may be written again."""

    host: Raw
    device: Raw
    copied: torch.cuda.Event | None = None
    used: torch.cuda.Event | None = None


class Prefetched:
    """A thread gathers batches ahead of the step into page-locked memory, from where a copy engine sends them over.

    Device memory is bounded by AHEAD batches, whatever the size of the data set.
    """

    def __init__(self, images: Images, sampler: Sampler, device: torch.device) -> None:
        self.description = f"streamed to {device}, {AHEAD} batches ahead"
        self._images, self._sampler, self._device = images, sampler, device
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="feed")
        self._waiting: deque[tuple[int, Future[Slot]]] = deque()
        self._count, self._slots, self._lent = 0, deque[Slot](), deque[Slot](maxlen=1)

    def fetch(self, n_images: int, count: int) -> Raw:
        """See Feed. A call that does not go on where the last one ended starts the stream anew."""
        self._take_back()
        if count != self._count or not self._waiting or self._waiting[0][0] != n_images:
            self._start(n_images, count)
        _, future = self._waiting.popleft()
        slot = future.result()
        if slot.copied is not None:
            torch.cuda.current_stream(self._device).wait_event(slot.copied)
        self._lent.append(slot)
        return slot.device

    def _start(self, n_images: int, count: int) -> None:
        while self._waiting:
            self._slots.append(self._waiting.popleft()[1].result())
        if count != self._count:
            self._count = count
            self._slots = deque(self._slot() for _ in range(AHEAD))
            if self._stream is not None:
                # The room was made in the order of the current stream, which may still use what lay there before.
                self._stream.wait_stream(torch.cuda.current_stream(self._device))
        for number in range(len(self._slots)):
            self._ask(n_images + number * count)

    def _slot(self) -> Slot:
        def room(shape: Sequence[int], dtype: torch.dtype) -> tuple[Tensor, Tensor]:
            host = torch.empty(shape, dtype=dtype, pin_memory=self._stream is not None)
            there = torch.empty(shape, dtype=dtype, device=self._device)
            if self._stream is not None and there.is_cuda:
                there.record_stream(self._stream)  # a feed that is dropped frees it once copies under way have ended
            return host, there

        images = room((self._count, *self._images.shape), torch.uint8)
        labels = (None, None) if self._images.labels is None else room((self._count,), torch.int64)
        return Slot((images[0], labels[0]), (images[1], labels[1]))

    def _take_back(self) -> None:
        """The batch that was lent is used up once the device has done what was asked of it by now."""
        if not self._lent:
            return
        slot = self._lent.pop()
        if self._stream is not None:
            slot.used = torch.cuda.Event()  # type: ignore[no-untyped-call]
            slot.used.record(torch.cuda.current_stream(self._device))
        self._slots.append(slot)
        if self._waiting:
            self._ask(self._waiting[-1][0] + self._count)

    def _ask(self, n_images: int) -> None:
        self._waiting.append((n_images, self._thread.submit(self._fill, self._slots.popleft(), n_images)))

    def _fill(self, slot: Slot, n_images: int) -> Slot:
        if slot.copied is not None:
            slot.copied.synchronize()  # the page-locked side was read
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
