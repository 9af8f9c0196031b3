"""All loaders return the same batches, which depend on the seed and `n_images` alone."""

import numpy as np
import pytest
import torch

from models.training.loaders import AHEAD, Loader, MemoryMapped, OnDevice, Prefetched, make_loader
from models.training.random import Sampler
from tests.models.conftest import ArrayImages
from tests.models.training.capturing import Cuda

CPU = torch.device("cpu")
BATCH = 24  # of 64 images, so that batches cross epochs


def make(name: str, images: ArrayImages) -> Loader:
    sampler = Sampler(len(images), seed=5)
    if name == "memory-mapped":
        return MemoryMapped(images, sampler)
    return OnDevice(images, sampler, CPU) if name == "on device" else Prefetched(images, sampler, CPU)


@pytest.mark.parametrize("name", ["memory-mapped", "on device", "prefetched"])
@pytest.mark.parametrize("labelled", [True, False])
def test_batches_are_those_of_the_sampler(name: str, labelled: bool) -> None:
    images = ArrayImages(64, labelled=labelled)
    loader, expected = make(name, images), Sampler(64, seed=5)
    for n_images in range(0, 10 * BATCH, BATCH):
        raw, labels = loader.fetch(n_images, BATCH)
        rows = expected.batch(n_images, BATCH)
        assert raw.dtype == torch.uint8
        assert (raw.numpy() == images.gather(rows)).all()
        assert labels is None if images.labels is None else (labels.numpy() == images.labels[rows]).all()  # type: ignore[union-attr]


@pytest.mark.parametrize("name", ["memory-mapped", "on device", "prefetched"])
def test_a_loader_accepts_any_sequence_of_positions_and_sizes(name: str) -> None:
    images = ArrayImages(64)
    loader, expected = make(name, images), Sampler(64, seed=5)
    for n_images, count in ((0, 8), (8, 8), (16, 8), (8, 8), (200, 8), (208, 16), (0, 16)):
        raw, _ = loader.fetch(n_images, count)
        assert (raw.numpy() == images.gather(expected.batch(n_images, count))).all(), (n_images, count)


def test_prefetching_reads_a_bounded_number_of_batches_ahead() -> None:
    class Counting(ArrayImages):
        gathered = 0

        def gather(self, indices: np.ndarray) -> np.ndarray:
            self.gathered += 1
            return super().gather(indices)

    images = Counting(64)
    loader = Prefetched(images, Sampler(64, seed=0), CPU)
    for step in range(5):
        loader.fetch(step * 8, 8)
    loader.fetch(5 * 8, 8)
    assert images.gathered <= 6 + AHEAD


def test_a_prefetched_batch_is_valid_until_the_next_call() -> None:
    images = ArrayImages(64)
    loader, expected = Prefetched(images, Sampler(64, seed=0), CPU), Sampler(64, seed=0)
    for step in range(50):
        raw, _ = loader.fetch(step * 8, 8)
        torch.arange(10_000).sum()
        assert (raw.numpy() == images.gather(expected.batch(step * 8, 8))).all()


def test_a_read_error_is_raised_by_fetch() -> None:
    class Broken(ArrayImages):
        def gather(self, indices: np.ndarray) -> np.ndarray:
            raise OSError(5, "Input/output error")

    with pytest.raises(OSError, match="Input/output error"):
        Prefetched(Broken(64), Sampler(64, seed=0), CPU).fetch(0, 8)


def test_a_cpu_needs_no_copies() -> None:
    images = ArrayImages(64)
    assert isinstance(make_loader(images, Sampler(64, 0), CPU, share=0.4), MemoryMapped)


@pytest.mark.gpu
def test_on_a_gpu_the_share_decides() -> None:
    images, sampler, device = ArrayImages(64), Sampler(64, 0), torch.device("cuda", 0)
    assert isinstance(make_loader(images, sampler, device, share=0.4), OnDevice)
    prefetched = make_loader(images, sampler, device, share=0.0)
    assert isinstance(prefetched, Prefetched)
    raw, _ = prefetched.fetch(0, 8)
    assert (raw.cpu().numpy() == images.gather(Sampler(64, 0).batch(0, 8))).all()


def test_copies_wait_for_the_work_that_still_uses_their_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda, images = Cuda(monkeypatch), ArrayImages(64)
    loader = Prefetched(images, Sampler(64, seed=0), CPU)
    loader._stream = torch.cuda.Stream()  # as on a GPU; a CPU has no page-locked memory
    empty = torch.empty
    monkeypatch.setattr(torch, "empty", lambda *shape, pin_memory=False, **options: empty(*shape, **options))
    for step, count in ((0, 8), (1, 8), (1, 16)):
        loader.fetch(step * count, count)
    stream = loader._stream.name
    starts = [place for place, entry in enumerate(cuda.log) if entry == (stream, "waits for", "default")]
    assert len(starts) >= 2  # for the first buffers, and for those of the other size
    assert starts[0] == 0


@pytest.mark.gpu
@pytest.mark.parametrize("labelled", [True, False])
def test_on_a_busy_gpu_every_prefetched_batch_is_right(labelled: bool) -> None:
    """The device is always busy, so a copy at the wrong time would overwrite another batch."""
    images, device = ArrayImages(512, labelled=labelled), torch.device("cuda", 0)
    loader, expected, load = (
        Prefetched(images, Sampler(512, 0), device),
        Sampler(512, 0),
        torch.randn(2048, 2048, device=device),
    )
    for count in (32, 64):
        for step in range(300):
            raw, labels = loader.fetch(step * count, count)
            kept, kept_labels = raw.clone(), None if labels is None else labels.clone()
            load = (load @ load).clamp(-1, 1)
            rows = expected.batch(step * count, count)
            assert (kept.cpu().numpy() == images.gather(rows)).all()
            if kept_labels is not None and images.labels is not None:
                assert (kept_labels.cpu().numpy() == images.labels[rows]).all()
