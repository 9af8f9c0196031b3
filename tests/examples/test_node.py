"""The Node example: the right images, honest noise, and one sentence for whatever is wrong."""

import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.examples.bundles import DAMAGES, damaged
from tests.examples.npm import evaluate, install, node


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """examples/node, installed."""
    return install(tmp_path_factory.mktemp("node") / "examples", "node")


def sentence(done: subprocess.CompletedProcess[str]) -> str:
    """The only line that a refusal prints."""
    assert done.returncode == 1, done.stdout
    assert not done.stdout
    [line] = done.stderr.splitlines()
    return line.removeprefix("error: ")


GOLDEN = """
import { openBundle } from "./bundle.mjs";
const bundle = await openBundle(given.folder);
const images = await bundle.generate(new Float32Array(given.noise.flat()), given.labels);
console.log(JSON.stringify(Array.from(images)));
"""


def test_images_are_the_golden_ones(example: Path, gan: Path, told: Path, vae: Path) -> None:
    for folder, file in ((gan, "gan"), (told, "gan"), (vae, "vae")):
        with np.load(folder / f"{file}.golden.npz") as archive:
            golden = dict(archive)
        labels = golden["label"].tolist() if "label" in golden else None
        given = {"folder": str(folder), "noise": golden["noise"].tolist(), "labels": labels}
        got = np.array(evaluate(example, GOLDEN, given), np.float32).reshape(golden["image"].shape)
        np.testing.assert_allclose(got, golden["image"], atol=1e-4)


DRAWN = """
import { Random } from "./random.mjs";
const rows = given.map((seed) => Array.from(new Random(seed).fillNormal(new Float32Array(101))));
console.log(JSON.stringify(rows));
"""


def test_the_noise_is_standard_normal_and_another_for_every_seed(example: Path) -> None:
    rows = np.array(evaluate(example, DRAWN, [*range(2000), 2**53 - 1, 0]))
    assert (rows[0] == rows[-1]).all()
    noise = rows[:2000]
    assert abs(noise.mean()) < 0.01
    assert abs(noise.std() - 1) < 0.01
    assert abs((noise**4).mean() - 3) < 0.1
    between = np.corrcoef(noise)  # of neighbouring seeds
    assert np.abs(between - np.eye(2000)).max() < 0.6  # 101 numbers: a standard deviation of 0.1, 2 million pairs
    assert np.abs(np.corrcoef(noise.T) - np.eye(101)).max() < 0.12


def test_the_sheet_holds_the_images_of_the_seeds(example: Path, vae: Path, tmp_path: Path) -> None:
    alone, sheet = tmp_path / "alone.png", tmp_path / "sheet.png"
    for out, seed, count in ((alone, 9, 1), (sheet, 7, 3)):
        done = node(example, "generate.mjs", vae, "--seed", seed, "--count", count, "--columns", 2, "--out", out)
        assert done.returncode == 0, done.stderr
    pixels = np.asarray(Image.open(sheet).convert("RGB"), np.int16)
    assert pixels.shape == (66, 66, 3)
    assert np.abs(pixels[34:, :32] - np.asarray(Image.open(alone).convert("RGB"), np.int16)).max() <= 1
    assert (pixels[34:, 32:] == 255).all()


def test_a_label_is_given_by_name_or_number(example: Path, told: Path, tmp_path: Path) -> None:
    for label in ("coat", "1", "shoe"):
        done = node(example, "generate.mjs", told, "--label", label, "--out", tmp_path / f"{label}.png")
        assert done.returncode == 0, done.stderr
    drawn = {name: (tmp_path / f"{name}.png").read_bytes() for name in ("coat", "1", "shoe")}
    assert drawn["coat"] == drawn["1"] != drawn["shoe"]


def test_a_bundle_of_the_earlier_format_is_read(example: Path, gan: Path, tmp_path: Path) -> None:
    done = node(example, "generate.mjs", damaged(gan, tmp_path / "earlier", "format 1"), "--out", tmp_path / "one.png")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("damage", "complaint"), DAMAGES)
def test_a_bad_bundle_is_a_sentence(example: Path, gan: Path, tmp_path: Path, damage: str, complaint: str) -> None:
    assert complaint in sentence(node(example, "generate.mjs", damaged(gan, tmp_path / "bad", damage)))


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--count", 0], "0 images at once were asked for; ask for 1 to 4,096"),
        (["--count", 100_000], "100,000 images at once were asked for; ask for 1 to 4,096"),
        (["--seed", "many"], "--seed must be a whole number from 0 on, and many is not"),
        (["--label", 3], 'there is no label "3"; this model knows 0 bag, 1 coat, 2 shoe'),
        (["--label", ""], 'there is no label ""'),
        (["--colour"], "Unknown option '--colour'"),
        (["another"], "name one bundle: node generate.mjs BUNDLE"),
        (["--out", "/nowhere/a.png"], "no such file or directory"),
    ],
)
def test_a_bad_wish_is_a_sentence(example: Path, told: Path, arguments: list[Any], complaint: str) -> None:
    assert complaint in sentence(node(example, "generate.mjs", told, *arguments))


def test_no_bundle_is_a_sentence(example: Path, tmp_path: Path) -> None:
    assert sentence(node(example, "generate.mjs", tmp_path)) == "this is no bundle: contract.json is not there"


REFUSED = """
import { openBundle } from "./bundle.mjs";
const [told, plain] = [await openBundle(given.told), await openBundle(given.plain)];
const zeros = (count) => new Float32Array(count);
const why = (bundle, ...asked) => bundle.generate(...asked).then(() => "taken", (error) => error.message);
console.log(JSON.stringify(await Promise.all([
  why(told, zeros(11), [0, 0]),
  why(told, new Float64Array(12), [0, 0]),
  why(told, zeros(12).fill(NaN), [0, 0]),
  why(told, zeros(0), []),
  why(told, zeros(600000), null),
  why(told, zeros(12)),
  why(told, zeros(12), [0, 3]),
  why(told, zeros(12), [0, 0.5]),
  why(told, zeros(12), [0]),
  why(plain, zeros(12), [0, 0]),
])));
"""


def test_bad_arrays_are_a_sentence(example: Path, told: Path, gan: Path) -> None:
    assert evaluate(example, REFUSED, {"told": str(told), "plain": str(gan)}) == [
        "noise must hold 6 numbers for each image, and 11 is no multiple of that",
        "noise must be a Float32Array",
        "noise must hold finite numbers alone, and there is a NaN or an infinity in it",
        "0 images at once were asked for; ask for 1 to 4,096",
        "100,000 images at once were asked for; ask for 1 to 4,096",
        "this GAN needs a label for every image",
        "labels must be whole numbers from 0 to 2, and one is not",
        "labels must be whole numbers from 0 to 2, and one is not",
        "2 images need as many labels, and there are 1",
        "this GAN takes no label; omit the label",
    ]
