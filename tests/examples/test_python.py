"""The Python example: the right images, from a bundle alone, and one sentence for whatever is wrong."""

import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnxruntime
import pytest
from PIL import Image

from tests.examples.bundles import DAMAGES, LABELS, damaged
from tests.examples.consumer import EXAMPLES, bare, environment


@pytest.fixture(scope="module")
def example() -> Iterator[ModuleType]:
    """examples/python/bundle.py as a module."""
    spec = importlib.util.spec_from_file_location("bundle_of_examples", EXAMPLES / "python/bundle.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    sys.modules.pop("bundle_of_examples", None)


def generate(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = bare("python/generate.py", *arguments)
    return subprocess.run(command, cwd=cwd, env=environment(), capture_output=True, text=True, check=False)


def sentence(done: subprocess.CompletedProcess[str]) -> str:
    """The only line that a refusal prints."""
    assert done.returncode == 1, done.stderr
    assert not done.stdout
    [line] = done.stderr.splitlines()
    return line


def golden(folder: Path, file: str) -> dict[str, Any]:
    with np.load(folder / f"{file}.golden.npz") as archive:
        return dict(archive)


def test_images_are_the_golden_ones(example: ModuleType, gan: Path, told: Path, vae: Path) -> None:
    for folder, file in ((gan, "gan"), (told, "gan"), (vae, "vae")):
        wanted = golden(folder, file)
        images = example.Bundle(folder).generate(wanted["noise"], wanted.get("label"))
        np.testing.assert_allclose(images, wanted["image"], atol=1e-4)


def test_a_bundle_of_the_earlier_format_is_read(example: ModuleType, gan: Path, tmp_path: Path) -> None:
    wanted = golden(gan, "gan")
    images = example.Bundle(damaged(gan, tmp_path / "earlier", "format 1")).generate(wanted["noise"])
    np.testing.assert_allclose(images, wanted["image"], atol=1e-4)


def test_chunks_give_what_one_run_gives(example: ModuleType, told: Path) -> None:
    bundle = example.Bundle(told)
    noise, labels = bundle.sample_noise(range(150))
    session = onnxruntime.InferenceSession(told / "gan.onnx", providers=["CPUExecutionProvider"])
    (wanted,) = session.run(["image"], {"noise": noise, "label": labels})
    np.testing.assert_allclose(bundle.generate(noise, labels), wanted, atol=1e-6)
    assert set(labels) == {0, 1, 2}


def test_a_vae_rebuilds_images(example: ModuleType, vae: Path) -> None:
    wanted = golden(vae, "vae")["image"]
    decoded = golden(vae, "decoder")["image"]
    np.testing.assert_allclose(example.Bundle(vae).reconstruct(wanted), decoded, atol=1e-3)


def test_the_sheet_holds_the_images_in_the_order_of_their_seeds(example: ModuleType, gan: Path, tmp_path: Path) -> None:
    done = generate(gan, "--seed", 5, "--count", 3, "--columns", 2, "--out", "sheet.png", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    sheet = np.asarray(Image.open(tmp_path / "sheet.png"))
    assert sheet.shape == (58, 58)
    bundle = example.Bundle(gan)
    for seed, (top, left) in ((5, (0, 0)), (6, (0, 30)), (7, (30, 0))):
        pixels = np.rint(bundle.generate(bundle.sample_noise([seed])[0])[0, 0] * 255)
        assert np.abs(sheet[top : top + 28, left : left + 28] - pixels).max() <= 1
    assert (sheet[30:, 30:] == 255).all()


def test_a_label_is_given_by_name_or_number(told: Path, tmp_path: Path) -> None:
    for out, label in (("name.png", "coat"), ("number.png", 1), ("other.png", "shoe")):
        assert generate(told, "--label", label, "--out", out, cwd=tmp_path).returncode == 0
    drawn = {name: (tmp_path / f"{name}.png").read_bytes() for name in ("name", "number", "other")}
    assert drawn["name"] == drawn["number"] != drawn["other"]


def test_pictures_are_rebuilt_side_by_side(vae: Path, tmp_path: Path) -> None:
    Image.new("RGBA", (90, 40), (255, 0, 0, 255)).save(tmp_path / "red.png")
    done = generate(vae, "--reconstruct", "red.png", "red.png", "--out", "pairs.png", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    pairs = np.asarray(Image.open(tmp_path / "pairs.png"))
    assert pairs.shape == (66, 66, 3)
    assert (pairs[:32, :32] == (255, 0, 0)).all()


@pytest.mark.parametrize(("damage", "complaint"), DAMAGES)
def test_a_bad_bundle_is_a_sentence(gan: Path, tmp_path: Path, damage: str, complaint: str) -> None:
    assert complaint in sentence(generate(damaged(gan, tmp_path / "bad", damage), cwd=tmp_path))


def test_no_bundle_is_a_sentence(tmp_path: Path) -> None:
    assert "nowhere is no bundle: contract.json is not there" in sentence(generate("nowhere", cwd=tmp_path))


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--count", 0], "0 images at once were asked for; ask for 1 to 4,096"),
        (["--count", 100_000], "100,000 images at once were asked for; ask for 1 to 4,096"),
        (["--label", 3], f"there is no label '3'; this model knows 0 {LABELS[0]}, 1 {LABELS[1]}, 2 {LABELS[2]}"),
        (["--label", "cat"], "there is no label 'cat'"),
        (["--reconstruct", "a.png"], "a.png cannot be read as a picture"),
    ],
)
def test_a_bad_wish_is_a_sentence(told: Path, tmp_path: Path, arguments: list[Any], complaint: str) -> None:
    (tmp_path / "a.png").write_text("no picture")
    assert complaint in sentence(generate(told, *arguments, cwd=tmp_path))


NOISE = np.zeros((2, 6), np.float32)


@pytest.mark.parametrize(
    ("noise", "labels", "complaint"),
    [
        (NOISE[:, :5], [0, 0], r"noise must have the shape \[N, 6\], and this one has \[2, 5\]"),
        (NOISE[0], [0, 0], r"and this one has \[6\]"),
        (NOISE.astype(np.float64), [0, 0], "noise must be float32, and this is float64"),
        (NOISE * np.nan, [0, 0], "finite numbers alone"),
        (NOISE[:0], [], "0 images at once"),
        (np.zeros((100_000, 6), np.float32), None, "100,000 images at once"),
        (NOISE, None, "needs a label for every image"),
        (NOISE, [0, 3], "labels must be from 0 to 2"),
        (NOISE, [-1, 0], "labels must be from 0 to 2"),
        (NOISE, [0], r"labels must be int64 with the shape \[2\]"),
    ],
)
def test_bad_arrays_are_a_sentence(example: ModuleType, told: Path, noise: Any, labels: Any, complaint: str) -> None:
    with pytest.raises(example.BundleError, match=complaint):
        example.Bundle(told).generate(noise, None if labels is None else np.array(labels, np.int64))


def test_what_the_model_cannot_do_is_a_sentence(example: ModuleType, gan: Path, vae: Path) -> None:
    with pytest.raises(example.BundleError, match="this GAN takes no label"):
        example.Bundle(gan).generate(NOISE, np.array([0, 0]))
    with pytest.raises(example.BundleError, match="a GAN has no encoder"):
        example.Bundle(gan).reconstruct(np.zeros((1, 1, 28, 28), np.float32))
    with pytest.raises(example.BundleError, match=r"images must have the shape \[N, 3, 32, 32\]"):
        example.Bundle(vae).reconstruct(np.zeros((1, 1, 28, 28), np.float32))
    with pytest.raises(example.BundleError, match=r"images must lie in \[0, 1\]"):
        example.Bundle(vae).reconstruct(np.full((1, 3, 32, 32), 255, np.float32))
