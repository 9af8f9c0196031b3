"""Pictures as text that a page can show, small enough for Prefect's database."""

import base64
import io
from pathlib import Path

from PIL import Image

SIDE = 576  # pixels: what tasks.common.image_grid draws is not scaled, which would blur it and triple its bytes
MOST_BYTES = 100_000  # of a PNG
QUALITY = 70  # of a JPEG: even noise then stays below 200,000 characters


def thumbnail(path: Path, side: int = SIDE) -> str:
    """A picture as a data URI, made smaller where a side of it is longer than `side`; raises OSError if it is none.

    It stays a PNG, without loss, where that is small enough, and becomes a JPEG where it is not, as photographs do.
    """
    with Image.open(path) as image:
        image.thumbnail((side, side))
        png = _encoded(image, "PNG", optimize=True)
        if len(png) <= MOST_BYTES:
            return _uri("png", png)
        return _uri("jpeg", _encoded(image.convert("RGB"), "JPEG", quality=QUALITY))


def _encoded(image: Image.Image, kind: str, **options: int) -> bytes:
    memory = io.BytesIO()
    image.save(memory, kind, **options)
    return memory.getvalue()


def _uri(kind: str, content: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
