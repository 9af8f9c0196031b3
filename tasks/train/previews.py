"""Pictures of a model's current output, which the UI shows during the training.

They do not affect the training: noise comes from a random stream of its own, networks are the EMA copies, which no step
reads, and previews take less than a hundredth of the time.
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

MakePreview = Callable[[], tuple[Images, str]]  # images and their caption

FIRST_SECONDS, SECONDS_BETWEEN = 5.0, 20.0
TIMES_ITS_COST = 200  # a slow preview is made less often
SIDE = 6  # images along a side, fewer where they are large


class Previews:
    """Writes a new picture every 20 seconds or more, and none where no process reads the progress folder."""

    def __init__(self, make: MakePreview | None) -> None:
        self._make = make
        self._due = time.perf_counter() + FIRST_SECONDS

    def refresh(self, *, last: bool = False) -> None:
        """Writes a picture if one is due or `last` is set."""
        if self._make is None or not progress_folder().path or not (last or time.perf_counter() >= self._due):
            return
        start = time.perf_counter()
        try:
            progress_folder().write(PICTURE, _png(*self._make()))
        except torch.OutOfMemoryError:  # the training fills the GPU's memory
            self._make = None
        now = time.perf_counter()
        self._due = now + max(SECONDS_BETWEEN, TIMES_ITS_COST * (now - start))


def preview_gan(learner: GanLearner) -> tuple[Images, str]:
    """Returns images of the EMA generator from fixed noise, label after label where it is conditional."""
    count, classes = _columns(learner.config.size) ** 2, learner.config.classes
    device, settings = learner.mode.device, learner.settings
    noise = draw_noise(count, settings.noise, settings.seed, "sketch").to(device)
    label = torch.arange(count, device=device) % classes if classes else None
    with torch.no_grad():
        return _bytes(learner.ema.network(noise, label)), "generated from the same noise each time"


def preview_vae(learner: VaeLearner, validation: Split) -> tuple[Images, str]:
    """Returns fixed held-out images, each beside its reconstruction by the EMA networks."""
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
    """Returns a PNG with the caption in its metadata."""
    memory, about = io.BytesIO(), PngInfo()
    about.add_text(CAPTION, caption)
    grid(images, _columns(images.shape[-1])).save(memory, "PNG", pnginfo=about)
    return memory.getvalue()
