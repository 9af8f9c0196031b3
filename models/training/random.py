"""Random numbers as functions of (seed, purpose, n_images), so that a resumed run equals an uninterrupted one."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor


def derive_seed(seed: int, purpose: str, n_images: int) -> int:
    """Returns a 63-bit seed: the first eight bytes of SHA-256 of `seed/purpose/n_images`, shifted right by one."""
    digest = hashlib.sha256(f"{seed}/{purpose}/{n_images}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def generator(seed: int, purpose: str, n_images: int = 0, device: torch.device | str = "cpu") -> torch.Generator:
    """Returns torch's random generator for one purpose at one point of the run."""
    return torch.Generator(device).manual_seed(derive_seed(seed, purpose, n_images))


@contextmanager
def seeded(seed: int, purpose: str) -> Iterator[None]:
    """A context in which torch's global CPU generator, which initialises layers, starts from this seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, purpose, 0))
        yield


def noise(count: int, length: int, seed: int, purpose: str) -> Tensor:
    """Returns standard normal noise float32 [count, length], the same on every machine."""
    return torch.randn(count, length, generator=generator(seed, purpose))


class Sampler:
    """The order of training images: the permutation of epoch e depends on (seed, e) alone."""

    def __init__(self, size: int, seed: int) -> None:
        self._size, self._seed = size, seed
        self._epoch, self._order = -1, np.empty(0, np.int64)

    def batch(self, n_images: int, count: int) -> np.ndarray:
        """Returns the indices int64 [count] of the `count` images from `n_images` on, across epochs."""
        parts = [self.order(epoch)[start:stop] for epoch, start, stop in self.spans(n_images, count)]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def spans(self, n_images: int, count: int) -> Iterator[tuple[int, int, int]]:
        """Yields the same images as (epoch, start, stop), where start and stop are positions in `order(epoch)`."""
        while count > 0:
            epoch, start = divmod(n_images, self._size)
            stop = min(start + count, self._size)
            yield epoch, start, stop
            n_images, count = n_images + stop - start, count - (stop - start)

    def order(self, epoch: int) -> np.ndarray:
        """Returns the permutation of one epoch, int64 [size]."""
        if epoch != self._epoch:
            self._epoch = epoch
            self._order = torch.randperm(self._size, generator=generator(self._seed, "order", epoch)).numpy()
        return self._order
