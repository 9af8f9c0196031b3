"""The tables of figures, the verdict above them, and what to distrust."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tasks.common.files import read_json, write_json
from tasks.report.evaluators import read_evaluators
from tasks.report.gather import read_metrics, stage_rows
from tasks.report.page import render
from tasks.report.verdict import verdict, warnings
from tests.tasks.report import standing

Read = Callable[[], str]
pytestmark = pytest.mark.usefixtures("rendered_once")
VAE, GAN = Path("data/evaluation/vae.json"), Path("data/evaluation/gan.json")


def change(path: Path, alter: Callable[[Any], None]) -> None:
    """Writes a JSON file anew with what `alter` does to its value."""
    value = read_json(path)
    alter(value)
    write_json(path, value)


def warned() -> str:
    """What the page warns of, without drawing the rest of it."""
    return " ".join(warnings(read_metrics(), read_evaluators(), stage_rows()))


def cells(row: str) -> list[tuple[str, ...]]:
    """Of each number in a row of the page: its classes, the value, and the interval below it."""
    return re.findall(r'<td class="number([^"]*)"[^>]*>([^<]*)(?:<small>([^<]*)</small>)?</td>', row)


def rows(page: str, name: str) -> list[str]:
    return [part for part in page.split("<tr>") if f">{name}</code>" in part]


def test_figures_stand_beside_their_floor_with_their_intervals(project: Path) -> None:
    standing.fill_everything()
    page = render()
    assert cells(rows(page, "fd_relative")[1]) == [  # the first is a comparison of the gate's
        (" best", "0.0913", "0.0871 to 0.0962"),
        ("", "0.153", "0.147 to 0.160"),
        ("", "0.00110", ""),
    ]
    precision = rows(page, "precision")[1]
    assert cells(precision) == [("", "0.710", ""), (" best", "0.800", ""), ("", "0.910", "")]
    assert "Share of generated images that lie among real ones" in precision
    assert "Higher is better." in precision
    assert cells(rows(page, "psnr_reconstructions")[0]) == [("", "-", ""), ("", "21.4", ""), ("", "-", "")]


def test_a_figure_may_have_no_interval(project: Path) -> None:
    standing.fill_everything()
    change(GAN, lambda record: record.pop("intervals"))
    assert cells(rows(render(), "fd_relative")[1])[0] == (" best", "0.0913", "")


def test_of_equal_figures_none_is_better(project: Path) -> None:
    standing.fill_everything()
    change(VAE, lambda record: record["figures"].update(precision=0.71))
    assert [kind for kind, *_ in cells(rows(render(), "precision")[1])] == ["", "", ""]


def test_the_second_judge_has_a_compact_table_of_its_own(project: Path) -> None:
    standing.fill_everything()
    page = render()
    part = page[page.index("By the second judge") : page.index("By label")]
    assert cells(rows(part, "fd_relative")[0]) == [
        (" best", "0.210", "0.200 to 0.220"),
        ("", "0.340", "0.330 to 0.350"),
        ("", "0.00200", ""),
    ]
    assert rows(part, "precision") and rows(part, "vendi") and not rows(part, "fd_10k_test")
    assert "Both judges find the GAN closer to the test images." in part
    assert "judges disagree" not in warned()


def test_judges_that_disagree_are_a_warning(read: Read) -> None:
    standing.fill_everything()
    change(VAE, lambda record: record["second"]["figures"].update(fd_relative=0.1))
    sentence = "The judges disagree: the first finds the GAN closer to the test images, the second the VAE."
    assert read().count(sentence) == 2  # at the top, and where its figures stand
    change(VAE, lambda record: record.pop("second"))
    assert "judges disagree" not in warned()


def test_overlapping_intervals_are_a_warning(project: Path) -> None:
    standing.fill_everything()
    assert "overlap" not in warned()
    change(VAE, lambda record: record["intervals"].update(fd_relative=[0.095, 0.2]))
    assert "overlap: which one is closer may be chance" in warned()


def test_labels_stand_with_their_shares_and_distances(project: Path) -> None:
    standing.fill_everything()
    page = render()
    rows = [re.sub(r"<[^>]+>", " ", part).split() for part in page[page.index(">By label<") :].split("<tr>")]
    bag, coat = (next(row for row in rows if share in row) for share in ("0.480", "0.520"))
    assert bag[:6] == ["Bag", "0.500", "0.480", "0.480", "0.123", "0.123"]
    assert coat[-4:] == ["0.520", "0.520", "-", "-"]


def test_a_model_that_repeats_training_images_is_named(project: Path) -> None:
    standing.fill_everything()
    path = Path("data/evaluation/gan.json")
    record = read_json(path) | {"memorises": True}
    record["figures"]["memorised"] = 0.42
    write_json(path, record)
    warned = re.findall(r'<p class="warning">([^<]*)', render())
    assert any("The GAN repeats training images: 42% of its images" in warning for warning in warned)


def test_the_verdict_names_the_closer_model(read: Read) -> None:
    standing.fill_everything()
    sentence = "The GAN is closer to the test images than the VAE: relative Fréchet distance 0.0913 against 0.153"
    assert f"{sentence}, where real images score 0.00110." in read()
    Path("data/evaluation/gan.json").unlink()
    assert "The VAE has a relative Fréchet distance of 0.153 to the test images" in verdict(read_metrics())


def test_reasons_to_distrust_are_shown(project: Path) -> None:
    standing.fill_everything()
    assert "train_gan: stopped by the wall clock: not reproducible." in warned()
    assert "fails its own checks" not in warned()
    for folder, sentence in (
        ("reference", "The judge fails its own checks (see below), so its figures prove nothing."),
        ("reference_second", "The second judge fails its own checks (see below), so whether it agrees proves nothing."),
    ):
        change(Path("data") / folder / "evaluator.json", lambda evaluator: evaluator.update(counts=False))
        assert sentence in warned()


def test_models_of_different_protocols_are_not_compared(read: Read) -> None:
    standing.fill_everything()
    assert "cannot be compared" not in warned() + verdict(read_metrics())
    change(VAE, lambda record: record["protocol"].update(network="other"))
    page = read()
    assert "The GAN and the VAE cannot be compared: they were judged by different protocols." in page
    assert (
        f"different protocols: figures of different protocols cannot be compared: network {'a' * 64} and other" in page
    )
    assert not any(kind for name in ("precision", "coverage") for kind, *_ in cells(rows(render(), name)[1]))


def test_the_second_judges_protocols_are_compared_too(project: Path) -> None:
    standing.fill_everything()
    change(VAE, lambda record: record["second"]["protocol"].update(seed=9))
    assert "By the second judge: The models were judged by different protocols" in warned()


def test_a_protocol_of_other_keys_is_an_older_one(project: Path) -> None:
    standing.fill_everything()
    change(GAN, lambda record: record.update(protocol={"network": "b" * 64, "n_images": 10000}))
    assert "The GAN was judged by an older protocol; run evaluate_gan again to compare it." in warned()
    assert "The VAE was judged by an older protocol" not in warned()
