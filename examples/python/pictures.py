"""Converts between arrays of images and picture files."""

from pathlib import Path

import numpy as np
from bundle import BundleError, Floats
from PIL import Image, UnidentifiedImageError


def to_grid(images: Floats, columns: int, gap: int = 2) -> Image.Image:
    """Arranges images float32 [N, C, H, W] in [0, 1], C of 1 or 3, in rows on white with `gap` pixels between them."""
    pixels = np.rint(np.clip(images, 0, 1) * 255).astype(np.uint8).transpose(0, 2, 3, 1)
    count, height, width, channels = pixels.shape
    columns = min(columns, count)
    rows = -(-count // columns)
    sheet = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap, channels), 255, np.uint8)
    for place, one in enumerate(pixels):
        top, left = place // columns * (height + gap), place % columns * (width + gap)
        sheet[top : top + height, left : left + width] = one
    return Image.fromarray(sheet[..., 0] if channels == 1 else sheet)


def read_images(paths: list[Path], shape: tuple[int, int, int]) -> Floats:
    """Reads picture files, crops the central square and resizes; returns float32 [N, C, H, W] in [0, 1].

    Raises BundleError for a file that is no picture.
    """
    return np.stack([_read_image(path, shape) for path in paths])


def _read_image(path: Path, shape: tuple[int, int, int]) -> Floats:
    channels, height, width = shape
    try:
        with Image.open(path) as opened:
            image = opened.convert("L" if channels == 1 else "RGB")
    except (OSError, UnidentifiedImageError) as error:
        raise BundleError(f"{path} cannot be read as a picture") from error
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    image = image.resize((width, height), Image.Resampling.LANCZOS, (left, top, left + side, top + side))
    pixels = np.asarray(image, np.float32).reshape(height, width, channels) / 255
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))
