"""Decoding of one image file: the conversion of every kind of file, and the rejections."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tasks.common.params import PreprocessSettings
from tasks.preprocess.images import ImageError, decode_image

SETTINGS = PreprocessSettings(
    size=28, color="grey", min_side=8, max_pixels=100_000, max_rejected=0.1, min_images=4, validation=0.1, test=0.1,
    shard_mib=1,
)  # fmt: skip
RGB = SETTINGS.model_copy(update={"color": "rgb"})


def _noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


def _reason(path: Path, settings: PreprocessSettings = SETTINGS) -> str:
    with pytest.raises(ImageError) as caught:
        decode_image(path, settings)
    return str(caught.value)


def test_a_grey_image_of_the_right_size_keeps_every_byte(tmp_path: Path) -> None:
    values = _noise(28, 28)
    Image.fromarray(values).save(tmp_path / "a.png")
    np.testing.assert_array_equal(decode_image(tmp_path / "a.png", SETTINGS), values[None])


def test_rgb_keeps_colour_and_grey_is_luma(tmp_path: Path) -> None:
    Image.new("RGB", (28, 28), (200, 100, 50)).save(tmp_path / "a.png")
    assert decode_image(tmp_path / "a.png", RGB)[:, 0, 0].tolist() == [200, 100, 50]
    luma = round(0.299 * 200 + 0.587 * 100 + 0.114 * 50)  # ITU-R 601
    assert decode_image(tmp_path / "a.png", SETTINGS)[0, 0, 0] == luma


def test_the_centre_square_is_cropped(tmp_path: Path) -> None:
    values = np.zeros((28, 68), np.uint8)
    values[:, 20:48] = 255
    Image.fromarray(values).save(tmp_path / "wide.png")
    Image.fromarray(values.T).save(tmp_path / "high.png")
    assert decode_image(tmp_path / "wide.png", SETTINGS).min() == 255
    assert decode_image(tmp_path / "high.png", SETTINGS).min() == 255


@pytest.mark.parametrize("side", [56, 84, 112])
def test_a_fine_checkerboard_becomes_grey(tmp_path: Path, side: int) -> None:
    board = (np.indices((side, side)).sum(axis=0) % 2 * 255).astype(np.uint8)
    Image.fromarray(board).save(tmp_path / "a.png")
    inner = decode_image(tmp_path / "a.png", SETTINGS)[0, 2:-2, 2:-2].astype(int)
    assert abs(inner - 127.5).max() <= 8  # nearest or plain bilinear sampling would give 0 or 255


def test_the_exif_orientation_is_applied(tmp_path: Path) -> None:
    values = np.zeros((28, 28), np.uint8)
    values[:14] = 255  # the upper half is bright
    exif = Image.Exif()
    exif[0x0112] = 6  # show it rotated by 90 degrees clockwise, so the right half is bright
    Image.fromarray(values).save(tmp_path / "a.png", exif=exif)
    shown = decode_image(tmp_path / "a.png", SETTINGS)[0]
    np.testing.assert_array_equal(shown, np.rot90(values, -1))


@pytest.mark.parametrize("suffix", ["png", "tiff", "pgm"])
def test_sixteen_bits_are_scaled(tmp_path: Path, suffix: str) -> None:
    values = np.linspace(0, 65535, 28 * 28).reshape(28, 28).astype(np.uint16)
    Image.fromarray(values).save(tmp_path / f"a.{suffix}")
    shown = decode_image(tmp_path / f"a.{suffix}", SETTINGS)[0]
    np.testing.assert_array_equal(shown, np.round(values / 257).astype(np.uint8))


def test_transparent_images_are_composited_over_white(tmp_path: Path) -> None:
    Image.new("RGBA", (28, 28), (0, 0, 0, 0)).save(tmp_path / "rgba.png")
    Image.new("LA", (28, 28), (0, 51)).save(tmp_path / "la.png")  # 51 is a fifth of 255
    palette = Image.new("P", (28, 28), 3)
    palette.putpalette([0, 0, 0] * 256)
    palette.save(tmp_path / "palette.png", transparency=3)
    assert decode_image(tmp_path / "rgba.png", RGB).min() == 255
    assert decode_image(tmp_path / "la.png", SETTINGS)[0, 0, 0] == 204
    assert decode_image(tmp_path / "palette.png", SETTINGS).min() == 255


def test_palette_indices_become_colours(tmp_path: Path) -> None:
    palette = Image.new("P", (28, 28), 1)
    palette.putpalette([0, 0, 0, 10, 20, 30])
    palette.save(tmp_path / "a.gif")
    assert decode_image(tmp_path / "a.gif", RGB)[:, 5, 5].tolist() == [10, 20, 30]


def test_cmyk_becomes_rgb(tmp_path: Path) -> None:
    Image.new("CMYK", (28, 28), (0, 255, 255, 0)).save(tmp_path / "a.tiff")  # no cyan: red
    assert decode_image(tmp_path / "a.tiff", RGB)[:, 0, 0].tolist() == [255, 0, 0]


def test_a_bilevel_image_spans_the_range(tmp_path: Path) -> None:
    Image.fromarray(_noise(28, 28) > 127).save(tmp_path / "a.png")
    assert set(np.unique(decode_image(tmp_path / "a.png", SETTINGS))) == {0, 255}


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "bmp", "tiff"])
def test_a_file_cut_in_half_is_truncated(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(_noise(64, 64, 3)).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert _reason(path) == "truncated"


@pytest.mark.parametrize("content", [b"", b"hello", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 50 50\n"])
def test_other_files_are_not_images(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.jpg").write_bytes(content)
    assert _reason(tmp_path / "a.jpg") == "not an image"


def test_a_decompression_bomb_is_rejected_by_its_header(tmp_path: Path) -> None:
    Image.new("L", (400, 251)).save(tmp_path / "a.png")
    data = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(data[:60])  # without pixels, and the reason is still not `truncated`
    assert _reason(tmp_path / "a.png") == "decompression bomb"


def test_an_image_of_exactly_max_pixels_is_accepted(tmp_path: Path) -> None:
    Image.new("L", (400, 250)).save(tmp_path / "a.png")
    assert decode_image(tmp_path / "a.png", SETTINGS).shape == (1, 28, 28)


def test_small_images_are_rejected_by_their_shorter_side(tmp_path: Path) -> None:
    Image.new("L", (100, 7)).save(tmp_path / "a.png")
    Image.new("L", (100, 8)).save(tmp_path / "b.png")
    assert _reason(tmp_path / "a.png") == "too small"
    assert decode_image(tmp_path / "b.png", SETTINGS).shape == (1, 28, 28)


@pytest.mark.parametrize("suffix", ["gif", "png", "webp", "tiff"])
def test_animated_images_are_rejected(tmp_path: Path, suffix: str) -> None:
    frames = [Image.fromarray(_noise(28, 28, seed=seed)) for seed in range(3)]
    frames[0].save(tmp_path / f"a.{suffix}", save_all=True, append_images=frames[1:])
    assert _reason(tmp_path / f"a.{suffix}") == "animated"


def test_the_second_photo_in_a_phones_file_is_ignored(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (28, 28), color) for color in ("white", "black")]
    frames[0].save(tmp_path / "a.jpg", format="MPO", save_all=True, append_images=frames[1:])
    assert decode_image(tmp_path / "a.jpg", SETTINGS).min() > 250


@pytest.mark.parametrize("mode", ["F", "I", "LAB"])
def test_modes_without_a_standard_range_are_rejected(tmp_path: Path, mode: str) -> None:
    Image.new(mode, (28, 28)).save(tmp_path / "a.tiff")
    assert _reason(tmp_path / "a.tiff") == "unsupported mode"
