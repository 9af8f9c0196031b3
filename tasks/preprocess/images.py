"""One image file to one square of uint8, by a stated policy; what cannot be used is refused with a reason.

Colour: bilevel, grey, palette, RGB, CMYK and YCbCr are converted as Pillow does (grey is the ITU-R 601 luma). Anything
transparent is laid over white. 16-bit grey is scaled, 65535 to 255. Colour profiles are ignored. Of 16-bit colour
Pillow keeps the upper byte. Floating point, 32-bit integers, HSV and LAB have no agreed range and are refused.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, assert_never

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from tasks.common.params import PreprocessSettings

Bytes = npt.NDArray[np.uint8]
Color = Literal["grey", "rgb"]
CHANNELS: dict[Color, int] = {"grey": 1, "rgb": 3}

# What people have, less what runs other programs (EPS) or has no signature to be known by (TGA).
FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "QOI", "TIFF", "WEBP")
MODES = {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "I;16", "I;16L", "I;16B", "I;16N"}

TRUNCATED = "truncated"
NOT_AN_IMAGE = "not an image"
TOO_SMALL = "too small"
BOMB = "decompression bomb"
ANIMATED = "animated"
UNSUPPORTED_MODE = "unsupported mode"


class ImageError(Exception):
    """An image that is left out; the text is the reason, one of the constants above."""


def decode_image(path: Path, settings: PreprocessSettings) -> Bytes:
    """An image file as uint8 [C, size, size]: upright by its EXIF tag, one colour mode, centre square, resized.

    Raises ImageError with the reason.
    """
    image = _read(path, settings)
    return as_array(centre_square(flatten(image, settings.color), settings.size))


def flatten(image: Image.Image, color: Color) -> Image.Image:
    """Mode L or RGB, by the policy above."""
    if image.mode.startswith("I"):
        values = np.asarray(image).astype(np.uint32)
        image = Image.fromarray(((values + 128) // 257).astype(np.uint8))
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
    match color:
        case "grey":
            return image.convert("L")
        case "rgb":
            return image.convert("RGB")
    assert_never(color)


def centre_square(image: Image.Image, size: int) -> Image.Image:
    """The largest square around the centre, at `size` pixels a side; an image of that size keeps every byte.

    Lanczos with its support scaled to the input pixels, so that fine detail is averaged and not skipped
    (Parmar 2022, "On Aliased Resizing").
    """
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    square = image.crop((left, top, left + side, top + side))
    return square if side == size else square.resize((size, size), Image.Resampling.LANCZOS)


def as_array(image: Image.Image) -> Bytes:
    """A grey or RGB image as uint8 [C, H, W]."""
    values = np.asarray(image)
    return values[None] if values.ndim == 2 else np.ascontiguousarray(values.transpose(2, 0, 1))


def _read(path: Path, settings: PreprocessSettings) -> Image.Image:
    try:
        with _bomb_limit(settings.max_pixels), Image.open(path, formats=FORMATS) as image:
            _refuse_by_header(image, settings)
            image.load()
            return ImageOps.exif_transpose(image)
    except UnidentifiedImageError:
        raise ImageError(NOT_AN_IMAGE) from None
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise ImageError(BOMB) from None
    except (ImageError, MemoryError):
        raise
    except Exception as error:  # on damaged data Pillow's decoders raise nearly anything
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk's fault and not the file's
        raise ImageError(TRUNCATED) from None


def _refuse_by_header(image: Image.Image, settings: PreprocessSettings) -> None:
    """Raises ImageError for what shows before a pixel is decoded."""
    if min(image.size) < settings.min_side:
        raise ImageError(TOO_SMALL)
    if getattr(image, "is_animated", False) and image.format != "MPO":  # phones put a second, smaller photo in those
        raise ImageError(ANIMATED)
    if image.mode not in MODES and not (image.mode == "I" and image.format == "PPM"):  # there I is 16 bits, scaled
        raise ImageError(UNSUPPORTED_MODE)


@contextmanager
def _bomb_limit(pixels: int) -> Iterator[None]:
    """Lets Pillow refuse larger images, also those inside of containers, when it has read their header."""
    before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, pixels
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            yield
    finally:
        Image.MAX_IMAGE_PIXELS = before
