"""Grids: the position and the scale of each image, and that equal images give equal bytes."""

import base64
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tasks.common.image_grid import GAP, LINE, data_uri, grid, write_png


def test_images_are_placed_row_by_row_and_enlarged_by_an_integer() -> None:
    images = np.arange(5, dtype=np.uint8)[:, None, None, None] * np.full((1, 1, 10, 12), 10, np.uint8)
    picture = grid(images, 3)
    factor = 512 // 36
    assert picture.mode == "L"
    high, wide = 10 * factor + GAP, 12 * factor + GAP
    assert picture.size == (3 * wide - GAP, 2 * high - GAP)
    pixels = np.asarray(picture)
    np.testing.assert_array_equal(pixels[::high, ::wide], [[0, 10, 20], [30, 40, LINE]])
    assert (pixels[: high - GAP, wide : 2 * wide - GAP] == 10).all()
    assert (pixels[:, wide - GAP : wide] == LINE).all()


def test_rgb_images_keep_their_channels_and_large_ones_their_size() -> None:
    images = np.random.default_rng(0).integers(0, 256, (1, 3, 300, 400), np.uint8)
    picture = grid(images, 2)
    assert picture.size == (800 + GAP, 300)
    np.testing.assert_array_equal(np.asarray(picture)[:, :400], images[0].transpose(1, 2, 0))
    assert (np.asarray(picture)[:, 400:] == LINE).all()


@pytest.mark.parametrize("shape", [(0, 1, 4, 4), (2, 2, 4, 4), (4, 4)])
def test_other_shapes_are_an_error(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="expected"):
        grid(np.zeros(shape, np.uint8), 2)


def test_equal_images_give_equal_bytes_without_metadata(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (4, 1, 8, 8), np.uint8)
    for name in ("a.png", "deeper/b.png"):
        write_png(tmp_path / name, grid(images, 2))
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "deeper/b.png").read_bytes()
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.info == {}
        np.testing.assert_array_equal(np.asarray(picture), np.asarray(grid(images, 2)))


def test_data_uri_contains_the_file(tmp_path: Path) -> None:
    write_png(tmp_path / "a.png", grid(np.zeros((1, 1, 2, 2), np.uint8), 1))
    kind, data = data_uri(tmp_path / "a.png").split(",")
    assert kind == "data:image/png;base64"
    assert base64.b64decode(data) == (tmp_path / "a.png").read_bytes()
