"""Pictures as addresses that hold them, so that the page is one file, and a small one."""

import base64
import io
from pathlib import Path

from PIL import Image

from tasks.common.image_grid import data_uri

MOST = 200_000  # bytes of a picture; a dozen of them leave the page below 5 MB
SMALLER = ((1024, 90), (1024, 75), (768, 75), (512, 70))  # longest side in pixels and JPEG's quality, tried in turn


def embedded(path: Path) -> str:
    """A `data:` address: the PNG file as it is, or a JPEG of it where the file is large."""
    if path.stat().st_size <= MOST:
        return data_uri(path)
    with Image.open(path) as picture:
        content = _small(picture if picture.mode == "L" else picture.convert("RGB"))
    return f"data:image/jpeg;base64,{base64.b64encode(content).decode()}"


def _small(picture: Image.Image) -> bytes:
    """The best of the smaller ones that is small enough, or the smallest."""
    for side, quality in SMALLER:
        memory, copy = io.BytesIO(), picture.copy()
        copy.thumbnail((side, side))
        copy.save(memory, "JPEG", quality=quality)
        if memory.tell() <= MOST:
            break
    return memory.getvalue()
