"""Grids of images as PNG files: equal images give equal bytes."""

import base64
import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tasks.common.files import write_bytes

WIDTH = 512  # pixels that a grid of small images is enlarged to, about
GAP, LINE = 2, 80  # pixels between images, and their grey


def grid(images: NDArray[np.uint8], columns: int) -> Image.Image:
    """uint8 [n, C, H, W] in rows of `columns`, enlarged by a whole factor to about 512 pixels, with thin lines between.

    C is 1 (grey) or 3 (RGB); raises ValueError otherwise, or when there are no images.
    """
    if images.ndim != 4 or not len(images) or images.shape[1] not in (1, 3):
        raise ValueError(f"images have shape {images.shape}; expected [n, 1 or 3, H, W] with n >= 1")
    count, channels, height, width = images.shape
    rows = -(-count // columns)
    factor = max(1, WIDTH // (columns * width))
    high, wide = height * factor + GAP, width * factor + GAP
    cells = np.full((rows * columns, channels, high, wide), LINE, np.uint8)
    cells[:count, :, :-GAP, :-GAP] = images.repeat(factor, axis=2).repeat(factor, axis=3)
    sheet = cells.reshape(rows, columns, channels, high, wide).transpose(0, 3, 1, 4, 2)
    pixels = sheet.reshape(rows * high, columns * wide, channels)[:-GAP, :-GAP]
    return Image.fromarray(pixels[..., 0] if channels == 1 else pixels)


def paired(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """First, second, first, second: uint8 [2n, C, H, W] of two [n, C, H, W], for a grid of pairs."""
    return np.stack([first, second], axis=1).reshape(-1, *first.shape[1:])


def write_png(path: Path, image: Image.Image) -> None:
    """Replaces `path` by the image as PNG, without a time or any other metadata."""
    memory = io.BytesIO()
    image.save(memory, "PNG", optimize=True)
    write_bytes(path, memory.getvalue())


def data_uri(path: Path) -> str:
    """A PNG file's content as a `data:` address, for pages that need no second file."""
    return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"
