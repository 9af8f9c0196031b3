"""Changes to images that a training sees, on its device: pure functions of the images and of uniform numbers.

Images are float32 [N, C, H, W] in [-1, 1].
"""

import torch
from torch import Tensor

SHIFT, CUT = 1 / 8, 1 / 2  # of the side, as Zhao 2020
NUMBERS = 7  # that `diff_augment` takes for an image


def flip(images: Tensor, random: Tensor) -> Tensor:
    """Mirrors left and right those images whose number, uniform [N], is below a half."""
    return torch.where(random[:, None, None, None] < 0.5, images.flip(3), images)


# ---- T(x) for both players, with gradients through it: Zhao 2020, "Differentiable Augmentation", section 3.2 ---------
def diff_augment(images: Tensor, random: Tensor) -> Tensor:
    """Colour, translation and cut-out, from uniform numbers [N, 7]; differentiable in `images`."""
    brightness, saturation, contrast, *moves = random.T[:, :, None, None, None]
    images = images + (brightness - 0.5)
    grey = images.mean(1, keepdim=True)
    images = (images - grey) * (saturation * 2) + grey
    mean = images.mean((1, 2, 3), keepdim=True)
    images = (images - mean) * (contrast + 0.5) + mean
    down, right, top, left = (move[:, 0, 0, 0] for move in moves)
    return cut_out(translate(images, down, right), top, left)


def translate(images: Tensor, down: Tensor, right: Tensor) -> Tensor:
    """Moves each image by up to an eighth of its side, uniform numbers [N] each way; what comes in is 0, mid-grey.

    A product with shifted unit matrices: exact, and unlike indexing it has a gradient that a GPU can repeat.
    """
    height, width = images.shape[2:]
    rows, columns = _shifted(down, height, images.dtype), _shifted(right, width, images.dtype)
    return rows[:, None] @ images @ columns[:, None].mT


def _shifted(random: Tensor, side: int, dtype: torch.dtype) -> Tensor:
    """Unit matrices [N, side, side] whose ones moved by -most to +most rows."""
    most = int(side * SHIFT + 0.5)
    moved = (random * (2 * most + 1)).floor().clamp(max=2 * most) - most
    places = torch.arange(side, device=random.device)
    return (places[:, None] - places[None, :] == moved[:, None, None]).to(dtype)


def cut_out(images: Tensor, top: Tensor, left: Tensor) -> Tensor:
    """Sets a square of half the side to 0; its centre lies anywhere in the image, by uniform numbers [N] each way."""
    height, width = images.shape[2:]
    rows, columns = _inside(top, height), _inside(left, width)
    return images.masked_fill((rows[:, :, None] & columns[:, None, :])[:, None], 0.0)


def _inside(random: Tensor, side: int) -> Tensor:
    """Whether each place along a side lies within the cut, bool [N, side]."""
    centre = (random * side).floor()[:, None]
    places, half = torch.arange(side, device=random.device), int(side * CUT + 0.5) // 2
    return (places >= centre - half) & (places < centre + half)
