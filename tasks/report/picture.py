"""Real images, the GAN's and the VAE's side by side: one picture for the README."""

from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from tasks.common.image_grid import write_png
from tasks.common.model_names import MODELS

SAMPLES = Path("data/samples")
GAP, CAPTION = 16, 40  # pixels
PAPER, INK = (255, 255, 255), (40, 40, 40)


def panels() -> dict[str, Path]:
    """Captions and the sample grids that exist, in the order real, GAN, VAE."""
    real = [path for model in MODELS if (path := SAMPLES / model / "real.png").is_file()]
    grids = {"real": real[:1], **{model.upper(): [SAMPLES / model / "grid.png"] for model in MODELS}}
    return {caption: path for caption, paths in grids.items() for path in paths if path.is_file()}


def write_picture(path: Path) -> None:
    """Replaces `path` by the panels side by side with captions; without any panel, there is no picture to write."""
    found = panels()
    if not found:
        return
    pictures = [Image.open(file).convert("RGB") for file in found.values()]
    width, height = sum(picture.width + GAP for picture in pictures) - GAP, max(picture.height for picture in pictures)
    sheet = Image.new("RGB", (width, height + CAPTION), PAPER)
    pen, font, left = ImageDraw.Draw(sheet), ImageFont.load_default(size=22), 0
    for caption, picture in zip(found, pictures, strict=True):
        sheet.paste(picture, (left, 0))
        pen.text((left + picture.width / 2, height + CAPTION / 2), caption, fill=INK, font=font, anchor="mm")
        left += picture.width + GAP
    write_png(path, sheet)
