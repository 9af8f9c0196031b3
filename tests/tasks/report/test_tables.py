"""The tables of metrics, the verdict above them, and the warnings."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tasks.common.files import read_json, write_json
from tasks.report.evaluators import read_evaluators
from tasks.report.gather import read_evaluations, stage_rows
from tasks.report.page import render
from tasks.report.verdict import verdict, warnings
from tests.tasks.report import standing

Read = Callable[[], str]
pytestmark = pytest.mark.usefixtures("rendered_once")
VAE, GAN = Path("data/evaluation/vae.json"), Path("data/evaluation/gan.json")


def change(path: Path, alter: Callable[[Any], None]) -> None:
    """Applies `alter` to the value of a JSON file."""
    value = read_json(path)
    alter(value)
    write_json(path, value)


def warned() -> str:
    """Returns the page's warnings without rendering the page."""
    return " ".join(warnings(read_evaluations(), read_evaluators(), stage_rows()))


def cells(row: str) -> list[tuple[str, ...]]:
    """Returns the classes, the value and the interval of each number in a row of the page."""
    return re.findall(r'<td class="number([^"]*)"[^>]*>([^<]*)(?:<small>([^<]*)</small>)?</td>', row)


def rows(page: str, name: str) -> list[str]:
    return [part for part in page.split("<tr>") if f">{name}</code>" in part]


def test_metrics_stand_beside_their_floor_with_their_intervals(project: Path) -> None:
    standing.fill_everything()
    page = render()
    assert cells(rows(page, "fd_relative")[1]) == [  # the first row is a comparison by the gate
        (" best", "0.0913", "0.0871 to 0.0962"),
        ("", "0.153", "0.147 to 0.160"),
        ("", "0.00110", ""),
    ]
    precision = rows(page, "precision")[1]
    assert cells(precision) == [("", "0.710", ""), (" best", "0.800", ""), ("", "0.910", "")]
    assert "Share of generated images within the k-nearest-neighbour ball of a test image" in precision
    assert "Higher is better." in precision
    assert cells(rows(page, "psnr_reconstructions")[0]) == [("", "-", ""), ("", "21.4", ""), ("", "-", "")]


def test_a_metric_may_have_no_interval(project: Path) -> None:
    standing.fill_everything()
    change(GAN, lambda record: record.pop("intervals"))
    assert cells(rows(render(), "fd_relative")[1])[0] == (" best", "0.0913", "")


def test_of_equal_metrics_none_is_better(project: Path) -> None:
    standing.fill_everything()
    change(VAE, lambda record: record["metrics"].update(precision=0.71))
    assert [kind for kind, *_ in cells(rows(render(), "precision")[1])] == ["", "", ""]


def test_the_second_evaluator_has_a_compact_table_of_its_own(project: Path) -> None:
    standing.fill_everything()
    page = render()
    part = page[page.index("By the second evaluator") : page.index("By label")]
    assert cells(rows(part, "fd_relative")[0]) == [
        (" best", "0.210", "0.200 to 0.220"),
        ("", "0.340", "0.330 to 0.350"),
        ("", "0.00200", ""),
    ]
    assert rows(part, "precision") and rows(part, "vendi") and not rows(part, "fd_10k_test")
    assert "By both evaluators, the GAN is closer to the test images." in part
    assert "evaluators disagree" not in warned()


def test_evaluators_that_disagree_are_a_warning(read: Read) -> None:
    standing.fill_everything()
    change(VAE, lambda record: record["second"]["metrics"].update(fd_relative=0.1))
    sentence = "The evaluators disagree: the GAN is closer to the test images by the first, the VAE by the second."
    assert read().count(sentence) == 2  # at the top, and at the table
    change(VAE, lambda record: record.pop("second"))
    assert "evaluators disagree" not in warned()


def test_an_evaluation_by_earlier_code_is_left_out(read: Read) -> None:
    standing.fill_everything()
    for path in (GAN, VAE):
        change(path, lambda record: record.update(figures=record.pop("metrics")))
    assert "No model has been evaluated yet" in read()


def test_overlapping_intervals_are_a_warning(project: Path) -> None:
    standing.fill_everything()
    assert "overlap" not in warned()
    change(VAE, lambda record: record["intervals"].update(fd_relative=[0.095, 0.2]))
    assert "overlap, so the ranking may be due to chance" in warned()


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
    record["metrics"]["memorised"] = 0.42
    write_json(path, record)
    warned = re.findall(r'<p class="warning">([^<]*)', render())
    assert any("The GAN repeats training images: 42% of its images are nearer" in warning for warning in warned)


def test_the_verdict_names_the_closer_model(read: Read) -> None:
    standing.fill_everything()
    distances = "its relative Fréchet distance is 0.0913, that of the VAE 0.153; real training images have 0.00110."
    assert f"The GAN is closer to the test images than the VAE: {distances}" in read()
    Path("data/evaluation/gan.json").unlink()
    assert "The VAE has a relative Fréchet distance of 0.153 to the test images" in verdict(read_evaluations())


def test_warnings_are_shown(project: Path) -> None:
    standing.fill_everything()
    assert "train_gan: stopped by the wall clock: not reproducible." in warned()
    assert "fails its own checks" not in warned()
    for folder, sentence in (
        ("reference", "The first evaluator fails its own checks (see below), so its metrics are not reliable."),
        ("reference_second", "The second evaluator fails its own checks (see below), so its metrics are not reliable."),
    ):
        change(Path("data") / folder / "evaluator.json", lambda evaluator: evaluator.update(trusted=False))
        assert sentence in warned()


def test_models_of_different_protocols_are_not_compared(read: Read) -> None:
    standing.fill_everything()
    assert "cannot be compared" not in warned() + verdict(read_evaluations())
    change(VAE, lambda record: record["protocol"].update(network="other"))
    page = read()
    assert "The GAN and the VAE cannot be compared, because they were evaluated by different protocols." in page
    assert (
        f"different protocols: metrics of different protocols cannot be compared: network {'a' * 64} and other" in page
    )
    assert not any(kind for name in ("precision", "coverage") for kind, *_ in cells(rows(render(), name)[1]))


def test_the_second_evaluators_protocols_are_compared_too(project: Path) -> None:
    standing.fill_everything()
    change(VAE, lambda record: record["second"]["protocol"].update(seed=9))
    assert "By the second evaluator: The models were evaluated by different protocols" in warned()


def test_a_protocol_of_other_keys_is_an_older_one(project: Path) -> None:
    standing.fill_everything()
    change(GAN, lambda record: record.update(protocol={"network": "b" * 64, "n_images": 10000}))
    assert "The GAN was evaluated by an older protocol; run evaluate_gan again to compare it." in warned()
    assert "The VAE was evaluated by an older protocol" not in warned()
