"""The pictures that evaluate leaves: images as drawn, real ones, the worst, and those that are nearest to copies."""

from pathlib import Path

import numpy as np

from tasks.common.image_grid import grid, paired, write_png
from tasks.evaluate.sampling import Sampling
from tasks.metrics.memorisation import Memorisation
from tasks.preprocess.dataset import Prepared

PAIRS = 16  # generated images that are shown beside the training image they come nearest to
WORST = 32  # generated images that are farthest from any real one


def draw_pictures(
    folder: Path, drawing: Sampling, strange: np.ndarray, near: Memorisation, prepared: Prepared, side: int
) -> None:
    """Writes grid.png, real.png, worst.png and nearest.png; `strange` are rows, the worst first."""
    test, train = prepared.split("test"), prepared.split("train")
    write_png(folder / "grid.png", grid(drawing.grid(), side))
    write_png(folder / "real.png", grid(test.gather(np.arange(min(side**2, len(test)))), side))
    write_png(folder / "worst.png", grid(drawing(strange[:WORST]), 8))
    rows = np.argsort(near.nearness, kind="stable")[:PAIRS]
    write_png(folder / "nearest.png", grid(paired(drawing(rows), train.gather(near.nearest[rows])), 8))
