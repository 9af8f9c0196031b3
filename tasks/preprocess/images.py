"""Converts one image file to a square of uint8, or rejects it with a reason.

Pillow converts bilevel, grey, palette, RGB, CMYK and YCbCr images (grey is the ITU-R 601 luma). Transparent images are
composited over white. 16-bit grey is scaled from 65535 to 255; of 16-bit colour Pillow keeps the upper byte. Colour
profiles are ignored. Floating point, 32-bit integers, HSV and LAB have no standard range and are rejected.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from tasks.common.params import PreprocessSettings
from tasks.ingest.idx import UInt8Array

Color = Literal["grey", "rgb"]
CHANNELS: dict[Color, int] = {"grey": 1, "rgb": 3}
PILLOW_MODES: dict[Color, str] = {"grey": "L", "rgb": "RGB"}

# The common formats except EPS, for which Pillow runs another program, and TGA, which has no signature.
FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "QOI", "TIFF", "WEBP")
MODES = {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "I;16", "I;16L", "I;16B", "I;16N"}


class ImageError(Exception):
    """An image is rejected; the text is the reason."""


def decode_image(path: Path, settings: PreprocessSettings) -> UInt8Array:
    """Decodes a file to its centre square, upright by its EXIF tag, uint8 [C, size, size]; raises ImageError."""
    image = _read(path, settings)
    return as_array(centre_square(flatten(image, settings.color), settings.size))


def flatten(image: Image.Image, color: Color) -> Image.Image:
    """Converts an image to mode L or RGB as the module describes."""
    if image.mode.startswith("I"):
        image = Image.fromarray(((np.asarray(image).astype(np.uint32) + 128) // 257).astype(np.uint8))
    if image.has_transparency_data:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    return image.convert(PILLOW_MODES[color])


def centre_square(image: Image.Image, size: int) -> Image.Image:
    """Crops the largest centre square and resizes it to `size` pixels a side; a square of that size stays as it is.

    Pillow's Lanczos filter widens its support when it shrinks an image, so that fine detail is averaged and does not
    alias (Parmar 2022, "On Aliased Resizing").
    """
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    square = image.crop((left, top, left + side, top + side))
    return square if side == size else square.resize((size, size), Image.Resampling.LANCZOS)


def as_array(image: Image.Image) -> UInt8Array:
    """Converts a grey or RGB image to uint8 [C, H, W]."""
    values = np.asarray(image)
    return values[None] if values.ndim == 2 else np.ascontiguousarray(values.transpose(2, 0, 1))


def _read(path: Path, settings: PreprocessSettings) -> Image.Image:
    try:
        with _bomb_limit(settings.max_pixels), Image.open(path, formats=FORMATS) as image:
            _check_header(image, settings)
            image.load()
            return ImageOps.exif_transpose(image)
    except UnidentifiedImageError:
        raise ImageError("not an image") from None
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise ImageError("decompression bomb") from None
    except (ImageError, MemoryError):
        raise
    except Exception as error:  # Pillow's decoders raise many types for damaged data
        if isinstance(error, OSError) and error.errno is not None:
            raise  # an error of the disk and not of the file
        raise ImageError("truncated") from None


def _check_header(image: Image.Image, settings: PreprocessSettings) -> None:
    """Raises ImageError for what the header shows, before a pixel is decoded."""
    if min(image.size) < settings.min_side:
        raise ImageError("too small")
    if getattr(image, "is_animated", False) and image.format != "MPO":  # phones add a second, smaller photo
        raise ImageError("animated")
    if image.mode not in MODES and not (image.mode == "I" and image.format == "PPM"):  # which is 16-bit, scaled
        raise ImageError("unsupported mode")


@contextmanager
def _bomb_limit(pixels: int) -> Iterator[None]:
    """Lets Pillow reject images with more pixels as soon as it has read their header, also inside containers."""
    before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, pixels
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            yield
    finally:
        Image.MAX_IMAGE_PIXELS = before
