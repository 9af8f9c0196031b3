"""The page in every state of the project: it opens without a network, says what is missing, and what to distrust."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from tasks.errors import UserError
from tasks.files import read_json, write_json
from tasks.report.curves import draw_curves, read_curves
from tasks.report.page import render, write_report
from tasks.workplace import work_folder
from tests.tasks.report import standing

ROOT = Path(__file__).parents[3]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty project of its own, with its own `.work`."""
    monkeypatch.chdir(tmp_path)
    work_folder.cache_clear()
    standing.fill_start()
    yield tmp_path
    work_folder.cache_clear()


def text(page: str) -> str:
    """What a reader reads: no tags, no styles, single spaces."""
    body = page[page.index("<body>") :]
    return " ".join(re.sub(r"<svg.*?</svg>|<[^>]+>", " ", body, flags=re.DOTALL).split())


def test_a_fresh_clone_gives_a_page_that_says_what_is_missing(project: Path) -> None:
    page = text(render())
    assert "Nothing has been judged yet; `make run`" in page
    for stage in ("preprocess has not run", "train_gan has not run", "train_vae has not run", "reference has not run"):
        assert stage in page
    assert "train_gan not run yet: data/prepared is missing; run the stage that makes it" in page
    write_report()
    assert [path.name for path in (project / "report").iterdir()] == ["index.html"]


def test_the_page_needs_nothing_but_itself(project: Path) -> None:
    standing.fill_everything()
    page = render()
    addresses = re.findall(r"""(?:src|href|url|@import)\s*[=(]\s*["']?([^"')\s]+)""", page)
    assert addresses
    assert all(address.startswith(("data:image/png;base64,", "#")) for address in addresses)
    assert "<script" not in page
    assert page.count('src="data:image/png') == 6  # real, GAN, VAE, reconstructions, nearest pairs of both
    assert "prefers-color-scheme: dark" in page


def test_figures_stand_beside_their_floor_and_the_better_one_is_marked(project: Path) -> None:
    standing.fill_everything()
    page = render()
    row = next(part for part in page.split("<tr>") if ">fd_relative<" in part)
    assert re.findall(r'<td class="number([^"]*)">([^<]*)</td>', row) == [
        (" best", "0.0913"),
        ("", "0.153"),
        ("", "0.00110"),
    ]
    row = next(part for part in page.split("<tr>") if ">precision<" in part)
    assert re.findall(r'<td class="number([^"]*)">([^<]*)</td>', row) == [
        ("", "0.710"),
        (" best", "0.800"),
        ("", "0.910"),
    ]
    assert "Share of generated images that lie among real ones" in row
    row = next(part for part in page.split("<tr>") if ">psnr_reconstructions<" in part)
    assert re.findall(r'<td class="number([^"]*)">([^<]*)</td>', row) == [("", "-"), ("", "21.4"), ("", "-")]


def test_labels_stand_with_their_shares_and_distances(project: Path) -> None:
    standing.fill_everything()
    page = render()
    rows = [re.sub(r"<[^>]+>", " ", part).split() for part in page[page.index("<h2>By label") :].split("<tr>")]
    bag, coat = (next(row for row in rows if share in row) for share in ("0.480", "0.520"))
    assert bag[:6] == ["Bag", "0.500", "0.480", "0.480", "0.123", "0.123"]
    assert coat[-4:] == ["0.520", "0.520", "-", "-"]


def test_a_model_that_repeats_training_images_is_named(project: Path) -> None:
    standing.fill_everything()
    path = Path("data/metrics/gan.json")
    record = read_json(path) | {"memorises": True}
    record["figures"]["memorised"] = 0.42
    write_json(path, record)
    warned = re.findall(r'<p class="warning">([^<]*)', render())
    assert any("The GAN repeats training images: 42% of its images" in warning for warning in warned)


def test_the_verdict_names_the_closer_model(project: Path) -> None:
    standing.fill_everything()
    sentence = "The GAN is closer to the test images than the VAE: relative Fréchet distance 0.0913 against 0.153"
    assert f"{sentence}, where real images score 0.00110." in text(render())
    Path("data/metrics/gan.json").unlink()
    assert "The VAE has a relative Fréchet distance of 0.153 to the test images" in text(render())


def test_reasons_to_distrust_are_shown(project: Path) -> None:
    standing.fill_everything()
    assert "train_gan: stopped by the wall clock: not reproducible." in text(render())
    assert "cannot be compared" not in text(render())
    record = read_json(Path("data/metrics/vae.json"))
    record["protocol"]["network"] = "c" * 64
    write_json(Path("data/metrics/vae.json"), record)
    assert "judged by different protocols, so their figures cannot be compared" in text(render())
    assert "its figures prove nothing" not in text(render())
    write_json(Path("data/reference/judge.json"), read_json(Path("data/reference/judge.json")) | {"counts": False})
    assert "The judge fails its own checks (see below), so its figures prove nothing." in text(render())


def test_data_and_quarantine_are_counted_and_names_are_escaped(project: Path) -> None:
    standing.fill_everything()
    page = render()
    assert "<b>Coat</b>" not in page
    assert "<b>Coat</b>" in page.replace("&lt;", "<").replace("&gt;", ">")
    read = text(page)
    assert "Label train validation test Bag 60 5 20" in read
    assert "all 100 11 41" in read
    assert "truncated 7 cut-0.png, cut-1.png, cut-2.png, cut-3.png, cut-4.png, ..." in read
    assert "not an image 1 notes.txt" in read


def test_receipts_are_those_of_the_present_inputs(project: Path) -> None:
    standing.fill_everything()
    assert "train_gan 12.3 1,234 A Processor of 2026, 2 cores images per second 4,321" in text(render())
    assert "train_vae not run yet: data/missing is missing" in text(render())
    write_json(Path("data/prepared/manifest.json"), read_json(Path("data/prepared/manifest.json")) | {"color": "rgb"})
    assert "train_gan no receipt for the present inputs" in text(render())


def test_curves_leave_empty_cells_out_and_take_the_pages_colours(project: Path) -> None:
    standing.fill_curves()
    curves = read_curves(Path("data/curves/gan.csv"))
    assert {name: len(points) for name, points in curves.items()} == {"generator": 75, "discriminator": 75, "probe": 5}
    assert curves["probe"][0] == (96000.0, 0.2)
    svg = draw_curves(curves, "gan")
    assert svg == draw_curves(curves, "gan")
    assert all(part in svg for part in ("currentColor", "var(--accent)", ">generator<", ">probe<"))
    used = [set(re.findall(r'#([pm]\w+)[")]', draw_curves(curves, salt))) for salt in ("gan", "vae")]
    assert used[0]
    assert not used[0] & used[1]  # two drawings in one page must not refer to each other's clip paths and markers
    Path("data/curves/gan.csv").write_text("n_images,generator\n")
    assert read_curves(Path("data/curves/gan.csv")) == {}


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
    Path("data/metrics/gan.json").write_text("{")
    with pytest.raises(UserError, match=r"data/metrics/gan\.json is damaged"):
        render()


def test_outside_a_project_the_command_says_so(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tasks.report"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    ended = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert ended.stderr == "error: dvc.yaml is missing; run this from the project's folder\n"
    assert not (tmp_path / "report").exists()
