"""Augmentations of training images: pure functions of the images and of uniform random numbers in [0, 1).

Images are float [N, C, H, W] in [-1, 1], on any device.
"""

import torch
from torch import Tensor

SHIFT, CUT = 1 / 8, 1 / 2  # shares of the side (Zhao 2020)
NUMBERS = 7  # random numbers per image that `diff_augment` needs


def flip(images: Tensor, random: Tensor) -> Tensor:
    """Mirrors an image left to right where its number in `random`, uniform [N], is below 0.5."""
    return torch.where(random[:, None, None, None] < 0.5, images.flip(3), images)


# ---- T(x) for the generator and the discriminator: Zhao 2020, "Differentiable Augmentation", section 3.2 -------------
def diff_augment(images: Tensor, random: Tensor) -> Tensor:
    """Changes colour, translates and cuts out, by uniform numbers [N, 7]; differentiable in `images`."""
    brightness, saturation, contrast, *offsets = random.T[:, :, None, None, None]
    images = images + (brightness - 0.5)
    grey = images.mean(1, keepdim=True)
    images = (images - grey) * (saturation * 2) + grey
    mean = images.mean((1, 2, 3), keepdim=True)
    images = (images - mean) * (contrast + 0.5) + mean
    down, right, top, left = (offset[:, 0, 0, 0] for offset in offsets)
    return cut_out(translate(images, down, right), top, left)


def translate(images: Tensor, down: Tensor, right: Tensor) -> Tensor:
    """Shifts each image by up to an eighth of its side, by uniform numbers [N] per direction, and pads with 0.

    It multiplies by shifted identity matrices: exact, and its gradient is deterministic on a GPU, unlike indexing's.
    """
    height, width = images.shape[2:]
    rows, columns = _shifted(down, height, images.dtype), _shifted(right, width, images.dtype)
    return rows[:, None] @ images @ columns[:, None].mT


def _shifted(random: Tensor, side: int, dtype: torch.dtype) -> Tensor:
    """Returns identity matrices [N, side, side] shifted by -limit to +limit rows."""
    limit = int(side * SHIFT + 0.5)
    offset = (random * (2 * limit + 1)).floor().clamp(max=2 * limit) - limit
    index = torch.arange(side, device=random.device)
    return (index[:, None] - index[None, :] == offset[:, None, None]).to(dtype)


def cut_out(images: Tensor, top: Tensor, left: Tensor) -> Tensor:
    """Sets a square of half the side to 0, centred anywhere in the image by uniform numbers [N] per direction."""
    height, width = images.shape[2:]
    rows, columns = _inside(top, height), _inside(left, width)
    return images.masked_fill((rows[:, :, None] & columns[:, None, :])[:, None], 0.0)


def _inside(random: Tensor, side: int) -> Tensor:
    """Tells which rows (or columns) the square covers, bool [N, side]."""
    centre = (random * side).floor()[:, None]
    index, half = torch.arange(side, device=random.device), int(side * CUT + 0.5) // 2
    return (index >= centre - half) & (index < centre + half)
