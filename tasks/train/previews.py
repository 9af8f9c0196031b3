"""What a network draws while it is trained, as a picture for whoever watches.

Nothing here may touch the training: noise comes from a stream of its own, networks are the averages, which no step
reads, and drawing takes less than a hundredth of the time.
"""

import io
import time
from collections.abc import Callable

import numpy as np
import torch
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from models.learners.gan import GanLearner
from models.learners.vae import VaeLearner
from models.pixels import to_bytes, to_model, to_unit
from models.training.random import noise as draw_noise
from tasks.common.image_grid import WIDTH, grid, paired
from tasks.common.progress import CAPTION, PICTURE, progress_folder
from tasks.preprocess.dataset import Images, Split

Draw = Callable[[], tuple[Images, str]]  # and what they are

FIRST_SECONDS, SECONDS_BETWEEN = 5.0, 20.0
TIMES_ITS_COST = 200  # a picture that took long is drawn less often
SIDE = 6  # images, fewer where they are large


class Previews:
    """Draws a new picture now and then, and none where nobody watches."""

    def __init__(self, draw: Draw | None) -> None:
        self._draw = draw
        self._due = time.perf_counter() + FIRST_SECONDS

    def refresh(self, *, last: bool = False) -> None:
        """Leaves a picture if it is time for one, or if it is the last."""
        if self._draw is None or not progress_folder().enabled or not (last or time.perf_counter() >= self._due):
            return
        start = time.perf_counter()
        try:
            progress_folder().write(PICTURE, _png(*self._draw()))
        except torch.OutOfMemoryError:  # on a card that the training fills
            self._draw = None
        now = time.perf_counter()
        self._due = now + max(SECONDS_BETWEEN, TIMES_ITS_COST * (now - start))


def preview_gan(learner: GanLearner) -> tuple[Images, str]:
    """What the average draws from the same noise each time, label after label where it is told any."""
    count, classes = _columns(learner.config.size) ** 2, learner.config.classes
    device, settings = learner.mode.device, learner.settings
    noise = draw_noise(count, settings.noise, settings.seed, "sketch").to(device)
    label = torch.arange(count, device=device) % classes if classes else None
    with torch.no_grad():
        return _bytes(learner.ema.network(noise, label)), "drawn from the same noise each time"


def preview_vae(learner: VaeLearner, validation: Split) -> tuple[Images, str]:
    """The same held-out images each time, each beside what the averages make of it."""
    count = min(_columns(learner.config.size) ** 2 // 2, len(validation))
    images = validation.gather(np.arange(count))
    decoder = learner.ema_decoder.network
    with torch.no_grad():
        codes, _ = learner.ema_encoder.network(learner.mode.place(to_model(torch.from_numpy(images))))
        copies = _bytes(decoder.to_image(decoder(codes)))
    return paired(images, copies), "held-out images, each with its reconstruction to its right"


def _columns(side: int) -> int:
    return min(SIDE, WIDTH // side)


def _bytes(images: Tensor) -> Images:
    pixels: Images = to_bytes(to_unit(images.float())).cpu().numpy()
    return pixels


def _png(images: Images, caption: str) -> bytes:
    """A PNG that carries its own caption."""
    memory, about = io.BytesIO(), PngInfo()
    about.add_text(CAPTION, caption)
    grid(images, _columns(images.shape[-1])).save(memory, "PNG", pnginfo=about)
    return memory.getvalue()
