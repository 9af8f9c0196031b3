"""The web example in a real browser, on a phone and on a desk, and its mathematics."""

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from tests.conftest import ROOT
from tests.examples.bundles import DAMAGES, damaged
from tests.examples.npm import evaluate, install
from tests.examples.sites import Visit, build, serving
from tests.window import open_browser

SIZES = {"phone": (390, 844), "desk": (1280, 900)}
Images = np.ndarray[Any, Any]


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """examples/web, installed."""
    return install(tmp_path_factory.mktemp("web") / "examples", "web")


@pytest.fixture(scope="module")
def site(example: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], Path]:
    """Builds the page for a bundle, once for each."""
    made: dict[Path, Path] = {}

    def make(bundle: Path) -> Path:
        if bundle not in made:
            made[bundle] = tmp_path_factory.mktemp("site") / "dist"
            done = build(example, bundle, made[bundle])
            assert done.returncode == 0, done.stderr
        return made[bundle]

    return make


@pytest.fixture(scope="module")
def visit() -> Iterator[Callable[..., Visit]]:
    """Visits the page in a folder and waits until it is ready or has failed."""
    with ExitStack() as stack:
        browser = stack.enter_context(open_browser())

        def go(folder: Path, state: str = "ready", size: str = "desk", host: str = "127.0.0.1") -> Visit:
            port = stack.enter_context(serving(folder))
            wide, high = SIZES[size]
            page = browser.new_page(viewport={"width": wide, "height": high})
            there = Visit(page, f"http://{host}:{port}/")
            assert there.open() == state, there.page.inner_text("header")
            return there

        yield go


def wanted(example: Path, bundle: Path, seeds: list[int], label: int | None = None) -> Images:
    """The images of seeds, by ONNX Runtime in Python, [N, H, W, 3] in 0 to 255; a label overrules the seeds'."""
    session = onnxruntime.InferenceSession(next(bundle.glob("[gv]a[ne].onnx")), providers=["CPUExecutionProvider"])
    shape = [session.get_inputs()[0].shape[1], 3]
    script = """
    import { Random } from "./random.mjs";
    const drawn = given.seeds.map((seed) => {
      const random = new Random(seed);
      return [Array.from(random.fillNormal(new Float32Array(given.shape[0]))), random.below(given.shape[1])];
    });
    console.log(JSON.stringify(drawn));"""
    drawn = evaluate(example.parent / "node", script, {"seeds": seeds, "shape": shape})
    loader: dict[str, Any] = {"noise": np.array([noise for noise, _ in drawn], np.float32)}
    if len(session.get_inputs()) > 1:
        loader["label"] = np.array([own if label is None else label for _, own in drawn])
    (images,) = session.run(["image"], loader)
    pixels = np.rint(images * 255).transpose(0, 2, 3, 1)
    return np.broadcast_to(pixels, (*pixels.shape[:3], 3))


def alike(one: Any, other: Any) -> bool:
    return bool(np.abs(np.asarray(one) - np.asarray(other)).max() <= 1)


@pytest.mark.parametrize("size", SIZES)
def test_the_page_fits_and_asks_nobody_else(site: Any, visit: Any, gan: Path, size: str) -> None:
    there = visit(site(gan), size=size)
    assert there.console == []
    assert all(request.startswith(there.address) for request in there.requests)
    assert there.page.evaluate("document.documentElement.scrollWidth") <= SIZES[size][0]
    assert there.page.is_hidden("#labels") and there.page.is_visible("#editor")
    texts = "(all) => Math.min(...all.map((one) => parseFloat(getComputedStyle(one).fontSize)))"
    assert there.page.eval_on_selector_all("body *", texts) >= 12  # pixels
    buttons = "(all) => Math.min(...all.map((one) => one.getBoundingClientRect().height))"
    assert there.page.eval_on_selector_all("button, input, select:not(#label)", buttons) >= 38  # for a finger


def test_the_samples_are_the_images_of_their_seeds(site: Any, visit: Any, example: Path, gan: Path, vae: Path) -> None:
    for bundle in (gan, vae):
        there = visit(site(bundle))
        assert alike(there.pictures("#samples canvas"), wanted(example, bundle, list(range(24))))
    there.page.click("#more")
    there.settle()
    assert there.page.input_value("#seed") == "24"
    assert alike(there.pictures("#samples canvas"), wanted(example, vae, list(range(24, 48))))
    there.page.fill("#seed", "many")
    there.page.press("#seed", "Enter")
    assert there.page.inner_text("#hint") == "A seed is a whole number from 0 to 4,294,967,295."
    there.page.fill("#seed", "4294967295")
    there.page.press("#seed", "Enter")
    there.settle()
    assert there.page.inner_text("#hint") == ""
    assert alike(there.picture("#samples canvas"), wanted(example, vae, [2**32 - 1])[0])
    assert there.console == []


def test_a_label_picks_what_is_drawn(site: Any, visit: Any, example: Path, told: Path) -> None:
    there = visit(site(told))
    assert alike(there.pictures("#samples canvas"), wanted(example, told, list(range(24))))
    there.page.select_option("#label", label="shoe")
    there.settle()
    assert alike(there.pictures("#samples canvas"), wanted(example, told, list(range(24)), 2))
    assert there.page.get_attribute(".sample", "aria-label") == "seed 0, shoe"
    assert there.console == []


def test_the_walk_leads_from_the_sample_before_to_the_chosen(site: Any, visit: Any, example: Path, gan: Path) -> None:
    there = visit(site(gan))
    images = wanted(example, gan, list(range(24)))
    there.page.click(".sample >> nth=7")
    there.settle()
    assert there.page.inner_text("#ends") == "From seed 1, to seed 7."
    frames = there.pictures("#strip canvas")
    assert alike(frames[0], images[1]) and alike(frames[8], images[7])
    assert not alike(frames[4], images[1]) and not alike(frames[4], images[7])
    there.slide("#share", 100)
    assert alike(there.picture("#step"), images[7])
    there.page.click("#play")
    there.page.wait_for_timeout(1500)
    assert not alike(there.picture("#step"), images[7])
    there.page.click("#play")
    there.settle()
    still = there.picture("#step")
    there.page.wait_for_timeout(300)
    assert alike(there.picture("#step"), still)
    assert there.page.inner_text("#play") == "Play"


def test_a_slider_moves_the_chosen_sample_and_back(site: Any, visit: Any, example: Path, gan: Path) -> None:
    there = visit(site(gan))
    before = wanted(example, gan, [1])[0]
    assert np.abs(there.picture("#edited") - before).max() <= 4  # sliders have steps
    assert there.page.locator("#sliders input").count() == 6
    there.slide("#sliders input", -3)
    others = [float(one.input_value()) for one in there.page.locator("#sliders input").all()]
    assert others[0] == -3
    assert np.abs(there.picture("#edited") - there.picture("#sliders canvas")).max() <= 4
    assert np.abs(there.picture("#edited") - before).max() > 4
    there.page.click("#reset")
    there.settle()
    assert np.abs(there.picture("#edited") - before).max() <= 4


def test_without_means_to_hash_the_page_works(site: Any, visit: Any, gan: Path) -> None:
    there = visit(site(gan), host="lan.test")
    assert there.page.evaluate("globalThis.crypto.subtle === undefined")
    assert there.console == []


@pytest.mark.parametrize(("damage", "complaint"), DAMAGES)
def test_a_bad_bundle_is_a_sentence(
    site: Any, visit: Any, gan: Path, tmp_path: Path, damage: str, complaint: str
) -> None:
    shutil.copytree(site(gan), tmp_path / "dist", ignore=shutil.ignore_patterns("bundle"))
    damaged(gan, tmp_path / "dist/bundle", damage)
    there = visit(tmp_path / "dist", state="failed")
    assert complaint in there.page.inner_text("[role=alert]")
    assert there.page.is_hidden("main")


def test_no_bundle_is_a_sentence(example: Path, tmp_path: Path) -> None:
    done = build(example, tmp_path, tmp_path / "dist")
    [line] = done.stderr.splitlines()
    assert done.returncode == 1 and line.startswith("error: ") and "contract.json" in line


LINEAR = """
import { findDirections } from "./directions.mjs";
const [pixels, length] = [given.length, given[0].length];
const generator = {
  length, shape: [1, 4, pixels / 4], labelled: false,
  async generate(noise) {
    const count = noise.length / length;
    const row = (place) => noise.subarray(place * length, (place + 1) * length);
    const image = (z) => given.map((weights) => weights.reduce((sum, w, i) => sum + w * z[i], 0.5 + z[0] * z[1]));
    return new Float32Array(Array.from({ length: count }, (_, place) => image(row(place))).flat());
  },
};
const told = [];
const found = await findDirections(generator, 3, (share) => told.push(share));
console.log(JSON.stringify([found.map((one) => [Array.from(one.direction), one.share]), told]));
"""


def test_the_directions_are_those_of_the_regression(example: Path) -> None:
    weights = np.random.default_rng(0).standard_normal((24, 7)) * [5, 4, 3, 1, 1, 1, 1]
    shutil.copy2(example.parent / "node/random.mjs", example)
    found, progress = evaluate(example, LINEAR, weights.tolist())
    _, values, right = np.linalg.svd(weights)
    for place, (direction, share) in enumerate(found):
        assert abs(np.dot(direction, right[place])) > 0.9999
        assert share == pytest.approx(values[place] ** 2 / (values**2).sum(), rel=1e-3)
    assert progress == sorted(progress) and progress[-1] == 1


WALKED = """
import { slerp } from "./walk.mjs";
const [from, to] = given.map((one) => Float32Array.from(one));
const path = (a, b) => [0, 0.25, 0.5, 1].map((share) => Array.from(slerp(a, b, share)));
console.log(JSON.stringify([path(from, to), path(from, from)]));
"""


def test_a_walk_keeps_to_the_sphere(example: Path) -> None:
    start, end = np.random.default_rng(1).standard_normal((2, 50))
    end *= 2 * np.linalg.norm(start) / np.linalg.norm(end)
    path, resting = (np.array(one) for one in evaluate(example, WALKED, [start.tolist(), end.tolist()]))
    np.testing.assert_allclose(path[[0, 3]], [start, end], atol=1e-5)
    lengths = np.linalg.norm(path, axis=1) / np.linalg.norm(start)
    np.testing.assert_allclose(lengths, [1, 1.25, 1.5, 2], rtol=1e-5)
    unit = path / np.linalg.norm(path, axis=1, keepdims=True)
    np.testing.assert_allclose(np.arccos(unit[1] @ unit[0]) * 2, np.arccos(unit[2] @ unit[0]), rtol=1e-4)
    np.testing.assert_allclose(resting, np.tile(start, (4, 1)), atol=1e-6)


@pytest.mark.parametrize("name", ["node", "web"])
def test_the_lock_file_names_hashes_and_no_registry(name: str) -> None:
    packages = json.loads((ROOT / "examples" / name / "package-lock.json").read_text())["packages"]
    assert len(packages) > 2
    for path, package in packages.items():
        assert "resolved" not in package, path
        assert not path or package["integrity"].startswith("sha512-"), path
