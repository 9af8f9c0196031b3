"""Every way to the device gives the same batches, which follow from the clock alone."""

import numpy as np
import pytest
import torch

from models.training.loaders import AHEAD, Loader, MemoryMapped, OnDevice, Prefetched, make_loader
from models.training.random import Sampler
from tests.models.conftest import ArrayImages
from tests.models.training.capturing import Cuda

CPU = torch.device("cpu")
BATCH = 24  # 64 images: batches cross epochs


def make(kind: str, images: ArrayImages) -> Loader:
    sampler = Sampler(len(images), seed=5)
    if kind == "gathered":
        return MemoryMapped(images, sampler)
    return OnDevice(images, sampler, CPU) if kind == "resident" else Prefetched(images, sampler, CPU)


@pytest.mark.parametrize("kind", ["gathered", "resident", "streamed"])
@pytest.mark.parametrize("labelled", [True, False])
def test_batches_are_those_of_the_sampler(kind: str, labelled: bool) -> None:
    images = ArrayImages(64, labelled=labelled)
    loader, rule = make(kind, images), Sampler(64, seed=5)
    for n_images in range(0, 10 * BATCH, BATCH):
        raw, labels = loader.fetch(n_images, BATCH)
        rows = rule.batch(n_images, BATCH)
        assert raw.dtype == torch.uint8
        assert (raw.numpy() == images.gather(rows)).all()
        assert labels is None if images.labels is None else (labels.numpy() == images.labels[rows]).all()  # type: ignore[union-attr]


@pytest.mark.parametrize("kind", ["gathered", "resident", "streamed"])
def test_a_feed_can_be_set_back_and_asked_for_another_size(kind: str) -> None:
    images = ArrayImages(64)
    loader, rule = make(kind, images), Sampler(64, seed=5)
    for n_images, count in ((0, 8), (8, 8), (16, 8), (8, 8), (200, 8), (208, 16), (0, 16)):
        raw, _ = loader.fetch(n_images, count)
        assert (raw.numpy() == images.gather(rule.batch(n_images, count))).all(), (n_images, count)


def test_a_stream_reads_a_bounded_number_of_batches_ahead() -> None:
    class Counting(ArrayImages):
        asked = 0

        def gather(self, indices: np.ndarray) -> np.ndarray:
            self.asked += 1
            return super().gather(indices)

    images = Counting(64)
    loader = Prefetched(images, Sampler(64, seed=0), CPU)
    for step in range(5):
        loader.fetch(step * 8, 8)
    loader.fetch(5 * 8, 8)
    assert images.asked <= 6 + AHEAD


def test_what_a_stream_lent_stays_until_the_next_call() -> None:
    images = ArrayImages(64)
    loader, rule = Prefetched(images, Sampler(64, seed=0), CPU), Sampler(64, seed=0)
    for step in range(50):
        raw, _ = loader.fetch(step * 8, 8)
        torch.arange(10_000).sum()
        assert (raw.numpy() == images.gather(rule.batch(step * 8, 8))).all()


def test_a_failing_disk_is_heard_of_where_the_batch_is_asked_for() -> None:
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
    streamed = make_loader(images, sampler, device, share=0.0)
    assert isinstance(streamed, Prefetched)
    raw, _ = streamed.fetch(0, 8)
    assert (raw.cpu().numpy() == images.gather(Sampler(64, 0).batch(0, 8))).all()


def test_a_streams_copies_wait_for_what_the_device_still_does_with_their_room(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda, images = Cuda(monkeypatch), ArrayImages(64)
    loader = Prefetched(images, Sampler(64, seed=0), CPU)
    loader._stream = torch.cuda.Stream()  # as on a GPU; page-locked memory is what the CPU has none of
    empty = torch.empty
    monkeypatch.setattr(torch, "empty", lambda *shape, pin_memory=False, **options: empty(*shape, **options))
    for step, count in ((0, 8), (1, 8), (1, 16)):
        loader.fetch(step * count, count)
    side = loader._stream.name
    starts = [place for place, entry in enumerate(cuda.log) if entry == (side, "waits for", "default")]
    assert len(starts) >= 2  # for the first room, and for that of the other size
    assert starts[0] == 0


@pytest.mark.gpu
@pytest.mark.parametrize("labelled", [True, False])
def test_on_a_busy_gpu_every_streamed_batch_is_right(labelled: bool) -> None:
    """The device computes all the time, so that a copy that comes too early, or too late, meets another batch."""
    images, device = ArrayImages(512, labelled=labelled), torch.device("cuda", 0)
    loader, rule, load = (
        Prefetched(images, Sampler(512, 0), device),
        Sampler(512, 0),
        torch.randn(2048, 2048, device=device),
    )
    for count in (32, 64):
        for step in range(300):
            raw, labels = loader.fetch(step * count, count)
            kept, kept_labels = raw.clone(), None if labels is None else labels.clone()
            load = (load @ load).clamp(-1, 1)
            rows = rule.batch(step * count, count)
            assert (kept.cpu().numpy() == images.gather(rows)).all()
            if kept_labels is not None and images.labels is not None:
                assert (kept_labels.cpu().numpy() == images.labels[rows]).all()
