"""The page's section on the two evaluators and their sensitivity."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.report.evaluators import amount_for, read_sensitivities, sensitivity_panels
from tasks.report.page import render
from tests.tasks.report import standing

Read = Callable[[], str]


def test_the_facts_of_both_evaluators_stand_side_by_side(read: Read) -> None:
    standing.fill_everything()
    page = read()
    assert "The network was trained to classify the labels of the training images to recognise rotations of the" in page
    assert "Distance of the test images, blurred by a fourteenth of their side 0.187 0.187" in page
    assert "The evaluator passes its checks yes yes" in page
    Path("data/reference_second/evaluator.json").unlink()
    assert "The evaluator passes its checks yes -" in read()


def test_an_evaluator_that_has_not_run_is_missing_without_a_fault(read: Read) -> None:
    standing.fill_data()
    page = read()
    assert "No evaluator yet: the stage reference has not run." in page
    assert "No sensitivity yet: the stage reference has not run." in page


def test_each_corruption_is_a_panel_with_both_evaluators(project: Path) -> None:
    standing.fill_evaluators()
    panels = sensitivity_panels(read_sensitivities(), {"gan": 0.0913, "vae": 0.153})
    assert [panel.title for panel in panels] == ["Raised background", "Blur", "Noise", "Less contrast"]
    for panel in panels:
        assert [line["name"] for line in json.loads(panel.lines)] == ["first evaluator", "second evaluator"]
        assert all(part in panel.svg for part in ("var(--accent)", "var(--second)", "GAN 0.0913", "VAE 0.153"))
    blur, contrast = (json.loads(panels[place].lines)[0]["points"] for place in (1, 3))
    assert [words for _, _, *words in blur] == [["0.5", "0.00950"], ["1", "0.0969"], ["2", "0.418"]]
    assert blur[0][0] < blur[1][0] < blur[2][0]
    assert contrast[0][2:] == ["0.95", "0.00245"] and contrast[0][0] < contrast[1][0]  # the stronger is to the right


def test_one_evaluator_alone_is_plotted_alone(read: Read) -> None:
    standing.fill_everything()
    Path("data/reference/sensitivity.csv").unlink()
    panels = sensitivity_panels(read_sensitivities(), {})
    assert [line["name"] for line in json.loads(panels[0].lines)] == ["second evaluator"]
    page = read()
    assert "Left out Second evaluator" in page
    assert "Real images have the" not in page


def test_the_label_most_missed_comes_first(read: Read) -> None:
    standing.fill_everything()
    page = read()
    assert "Left out First evaluator Second evaluator &lt;b&gt;Coat&lt;/b&gt; 0.0639 0.0639 Bag 0.0423 0.0423" in page
    assert "width:100.0%" in render() and "width:66.2%" in render()


def test_a_models_distance_is_expressed_as_an_amount_of_corruption(read: Read) -> None:
    standing.fill_everything()
    amounts = "a blur of 0.99 pixels, or a reduction of the contrast to 0.54"
    assert f"Real images have the GAN's distance of 0.0913 after {amounts}." in read()


def test_amounts_lie_between_those_that_were_tried() -> None:
    points = [(0.5, 0.01), (1.0, 0.1), (2.0, 1.0)]
    assert amount_for(points, 0.1) == pytest.approx(1.0)
    assert amount_for(points, 10**-0.5) == pytest.approx(1.5)
    assert amount_for(points, 0.009) is None
    assert amount_for(points, 1.1) is None
