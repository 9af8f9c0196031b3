"""What the exported files draw: images by number, always the same for one seed."""

from collections.abc import Callable, Sequence

import numpy as np
import onnxruntime as ort
import torch

from models.pixels import to_bytes
from models.training.random import noise
from tasks.common.cli import Progress
from tasks.common.errors import UserError
from tasks.common.params import EvaluateSettings
from tasks.export.session import run_onnx
from tasks.reference.evaluator import Evaluator

BLOCK = 500
Rows = np.ndarray  # int64 [n], numbers of images
Draw = Callable[[Rows], np.ndarray]


class BrokenImageError(UserError):
    """What an exported file gives is no image."""


class Sampling:
    """`evaluate.n_images` images from an exported file: fixed noise, and labels at the shares of training images."""

    def __init__(self, running: ort.InferenceSession, settings: EvaluateSettings, counts: list[int]) -> None:
        """`counts` are the training images of each label, none where nothing is told."""
        self._running, self._settings, self._classes = running, settings, len(counts)
        self._noise = noise(settings.n_images, self._length, settings.seed, "evaluate").numpy()
        shares = np.array(counts) / max(sum(counts), 1)
        random = np.random.default_rng(settings.seed)
        self.labels = random.choice(len(shares) or 1, settings.n_images, p=shares if counts else None)

    @property
    def told(self) -> bool:
        """Whether the file takes a label beside the noise."""
        return len(self._running.get_inputs()) > 1

    @property
    def _length(self) -> int:
        length: int = self._running.get_inputs()[0].shape[1]
        return length

    def __call__(self, rows: Rows) -> np.ndarray:
        """The images of these numbers, uint8 [n, C, H, W]."""
        return self._run(self._noise[rows], self.labels[rows])

    def given(self, rows: Rows) -> tuple[np.ndarray, ...]:
        """What the file is given for the images of these numbers: noise, and labels where they are told."""
        return (self._noise[rows], self.labels[rows]) if self.told else (self._noise[rows],)

    def grid(self) -> np.ndarray:
        """Images for the sample grid, label after label where labels are told; uint8."""
        count = self._settings.grid**2
        rows = noise(count, self._length, self._settings.seed, "grid").numpy()
        return self._run(rows, np.arange(count) * self._classes // count)

    def _run(self, codes: np.ndarray, labels: np.ndarray) -> np.ndarray:
        return as_bytes(run_onnx(self._running, *((codes, labels) if self.told else (codes,)))[0])


def look(evaluators: Sequence[Evaluator], draw: Draw, count: int, what: str) -> list[np.ndarray]:
    """Features float32 [count, F] by each judge of the images 0 to count - 1, drawn a block at a time."""
    parts: list[list[np.ndarray]] = [[] for _ in evaluators]
    with Progress(count, what) as shown:
        for rows in blocks(count):
            images = draw(rows)
            for evaluator, seen in zip(evaluators, parts, strict=True):
                seen.append(evaluator.features(images))
            shown.advance(len(rows))
    return [np.concatenate(seen) for seen in parts]


def blocks(count: int) -> list[Rows]:
    """Numbers 0 to count - 1, at most BLOCK at a time."""
    return [np.arange(start, min(start + BLOCK, count)) for start in range(0, count, BLOCK)]


def as_bytes(images: np.ndarray) -> np.ndarray:
    """Images as the files give them, to uint8 [N, C, H, W]; raises BrokenImageError where one is none.

    They come as float32 [N, C, H, W] in [0, 1], or from a uint8 variant as [N, H, W, C].
    """
    if images.dtype == np.uint8:
        return images.transpose(0, 3, 1, 2)
    broken = ~np.isfinite(images).all(axis=(1, 2, 3))
    if broken.any():
        raise BrokenImageError(f"{broken.sum()} of {len(images)} images from the exported file hold NaN or infinity")
    return to_bytes(torch.from_numpy(images)).numpy()
