"""Grids of images as PNG files; equal images give equal bytes."""

import base64
import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tasks.common.files import write_bytes

WIDTH = 512  # approximate width of a grid of small images, in pixels
GAP, LINE = 2, 80  # width of the lines between images in pixels, and their grey value


def grid(images: NDArray[np.uint8], columns: int) -> Image.Image:
    """Arranges uint8 images [n, C, H, W] in rows of `columns`, enlarged by an integer factor to a width of about WIDTH.

    C is 1 (grey) or 3 (RGB). Raises ValueError for any other shape and when there are no images.
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
    """Interleaves two arrays of images, uint8 [n, C, H, W], to [2n, C, H, W]: each first image before its second."""
    return np.stack([first, second], axis=1).reshape(-1, *first.shape[1:])


def write_png(path: Path, image: Image.Image) -> None:
    """Replaces `path` atomically by the image as PNG, without a time or other metadata."""
    write_bytes(path, _encoded(image, "PNG", optimize=True))


def data_uri(path: Path, side: int = 576, most_bytes: int = 100_000) -> str:
    """Returns a picture as a `data:` URI, shrunk so that no side is longer than `side` pixels.

    The picture is embedded as PNG if that has at most `most_bytes`, else as the best JPEG that has, of half the size
    at the least. Raises OSError if the file is not a picture.
    """
    with Image.open(path) as image:
        image.thumbnail((side, side))  # does not enlarge
        kind, content = "png", _encoded(image, "PNG", optimize=True)
        for share, quality in ((1.0, 90), (1.0, 75), (0.75, 75), (0.5, 70)):
            if len(content) <= most_bytes:
                break
            image.thumbnail((round(share * side), round(share * side)))
            kind, content = "jpeg", _encoded(image.convert("RGB"), "JPEG", quality=quality)
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def _encoded(image: Image.Image, kind: str, **options: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()
