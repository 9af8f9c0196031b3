"""The page in every state of the project: it needs no network, and it names missing results."""

import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tasks.common.errors import UserError
from tasks.common.files import read_json, write_json
from tasks.report.gather import embedded
from tasks.report.page import render, write_report
from tasks.report.plots import BINS, draw_curves, read_curves, thinned
from tests.tasks.report import standing

ROOT = Path(__file__).parents[3]
Read = Callable[[], str]


def test_the_page_of_a_fresh_clone_names_what_is_missing(project: Path, read: Read) -> None:
    page = read()
    assert "No model has been evaluated yet; `make run`" in page
    for stage in ("preprocess has not run", "train_gan has not run", "train_vae has not run", "reference has not run"):
        assert stage in page
    assert "train_gan not run yet: data/prepared is missing; run the stage that makes it" in page
    write_report()
    assert [path.name for path in (project / "report").iterdir()] == ["index.html"]


def test_the_page_is_rendered_without_torch() -> None:
    """Importing torch takes longer than rendering the page."""
    program = "import sys, tasks.report.__main__; print({'torch', 'scipy', 'sklearn'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "set()", done.stderr


def test_the_page_needs_nothing_but_itself(project: Path) -> None:
    standing.fill_everything()
    page, script = re.fullmatch(r"(.*)<script>(.*)</script>.*", render(), flags=re.DOTALL).groups()
    addresses = re.findall(r"""(?:src|href|url|@import)\s*[=(]\s*["']?([^"')\s]+)""", page)
    assert addresses
    assert all(address.startswith(("data:image/png;base64,", "#")) for address in addresses)
    assert "<script" not in page and "http" not in script
    # real, GAN, VAE and reconstructions; nearest pairs and worst images of both; the gate's candidate and live model
    assert page.count('src="data:image/png') == 4 + 4 + 2
    assert "default-src 'none'" in page and "prefers-color-scheme: dark" in page


def test_large_pictures_leave_the_page_below_five_megabytes(project: Path) -> None:
    standing.fill_everything()
    noise = np.random.default_rng(0).integers(0, 256, (1600, 1600, 3)).astype(np.uint8)
    memory = io.BytesIO()
    Image.fromarray(noise).save(memory, "PNG", compress_level=0)  # nothing is harder to compress, so do not try
    for path in [*Path("data/samples").rglob("*.png"), *Path(".work/gate/gan").glob("*.png")]:
        path.write_bytes(memory.getvalue())
    rows = [f"{n},{n % 977},{n % 13}" for n in range(1, 200_001, 10)]
    Path("data/curves/gan.csv").write_text("\n".join(["n_images,generator,discriminator", *rows]))
    path = Path("data/samples/gan/grid.png")
    assert len(embedded({"GAN": path})["GAN"]) < 1.34 * 200_000 + 100
    assert 500_000 < len(render().encode()) < 5_000_000


def test_data_and_quarantine_are_counted_and_names_are_escaped(read: Read) -> None:
    standing.fill_everything()
    page = render()
    assert "<b>Coat</b>" not in page
    assert "<b>Coat</b>" in page.replace("&lt;", "<").replace("&gt;", ">")
    whole = read()
    assert "Label train validation test Bag 60 5 20" in whole
    assert "all 100 11 41" in whole
    assert "truncated 7 cut-0.png, cut-1.png, cut-2.png, cut-3.png, cut-4.png, ..." in whole
    assert "not an image 1 notes.txt" in whole


def test_receipts_are_those_of_the_present_inputs(read: Read) -> None:
    standing.fill_everything()
    assert "train_gan 12.3 1,234 A Processor of 2026, 2 cores images per second 4,321" in read()
    assert "train_vae not run yet: data/missing is missing" in read()
    write_json(Path("data/prepared/manifest.json"), read_json(Path("data/prepared/manifest.json")) | {"color": "rgb"})
    assert "train_gan no receipt: it has not run with the present inputs" in read()


def test_curves_leave_empty_cells_out_and_take_the_pages_colours(project: Path) -> None:
    standing.fill_curves()
    curves = read_curves(Path("data/curves/gan.csv"))
    assert {name: len(points) for name, points in curves.items()} == {"generator": 75, "discriminator": 75, "probe": 5}
    assert curves["probe"][0] == (96000.0, 0.2)
    panels = draw_curves(curves, "gan")
    assert panels == draw_curves(curves, "gan")
    assert [panel.title for panel in panels] == ["generator", "discriminator", "probe"]
    assert all(part in panels[0].svg for part in ("currentColor", "var(--accent)", "generator against images seen"))
    both = [*panels, *draw_curves(curves, "vae")]
    used = [name for panel in both for name in set(re.findall(r'id="([^"]+)"', panel.svg))]
    assert len(used) >= len(both)
    assert len(set(used)) == len(used)  # drawings in one page must not refer to each other's clip paths and markers
    Path("data/curves/gan.csv").write_text("n_images,generator\n")
    assert read_curves(Path("data/curves/gan.csv")) == {}


def test_points_have_the_positions_of_their_markers(project: Path) -> None:
    panel = draw_curves({"loss": [(0.0, 1.0), (5000.0, 2.0), (10000.0, 1.5)]}, "gan")[0]
    [line] = json.loads(panel.lines)
    width, height = (float(size) for size in re.search(r'viewBox="0 0 (\S+) (\S+)"', panel.svg).groups())
    markers = re.findall(r'<use xlink:href="#m\w+" x="([\d.]+)" y="([\d.]+)" style="fill: var', panel.svg)
    assert [[round(float(x) / width, 3), round(float(y) / height, 3)] for x, y in markers] == [
        [round(left, 3), round(top, 3)] for left, top, *_ in line["points"]
    ]
    assert [words for _, _, *words in line["points"]] == [["0", "1.00"], ["5k", "2.00"], ["10k", "1.50"]]


def test_a_long_curve_is_thinned_and_keeps_its_peaks() -> None:
    points = [(float(n), 7.0 if n == 12345 else n % 3 - 1.0) for n in range(20_000)]
    kept = thinned(points)
    assert len(kept) <= 2 * BINS
    assert (12345.0, 7.0) in kept
    assert kept == sorted(kept)
    assert thinned(points[:400]) == points[:400]


def test_the_picture_has_a_panel_for_each_grid(project: Path) -> None:
    standing.fill_everything()
    write_report()
    with Image.open("data/samples/gan/grid.png") as one, Image.open("report/picture.png") as three:
        assert three.width == 3 * one.width + 2 * 16
        assert three.crop((one.width + 16, 0, 2 * one.width + 16, one.height)).convert("L").tobytes() == one.tobytes()
        caption = three.crop((0, one.height, one.width, three.height)).convert("L")
        assert caption.getextrema()[0] < 100  # dark letters
    Path("data/samples/vae/grid.png").unlink()
    write_report()
    with Image.open("report/picture.png") as two:
        assert two.width < three.width


def test_the_same_state_gives_the_same_page(project: Path) -> None:
    standing.fill_everything()
    assert render() == render()


def test_a_damaged_file_is_one_sentence(project: Path) -> None:
    standing.fill_everything()
    Path("data/evaluation/gan.json").write_text("{")
    with pytest.raises(UserError, match=r"data/evaluation/gan\.json is damaged"):
        render()


def test_outside_a_project_the_command_says_so(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tasks.report"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    ended = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert ended.stderr == "error: dvc.yaml is missing; run this from the project's folder\n"
    assert not (tmp_path / "report").exists()
