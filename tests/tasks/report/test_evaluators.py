"""What the page says of the two judges and of what they see."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.report.evaluators import amount_for, read_sensitivities, sensitivity_panels
from tasks.report.page import render
from tests.tasks.report import standing

Read = Callable[[], str]


def test_the_facts_of_both_judges_stand_side_by_side(read: Read) -> None:
    standing.fill_everything()
    page = read()
    assert "It learnt to tell labels of the training images apart to tell quarter turns of the training images" in page
    assert "Of the held-out images, blurred by a fourteenth of their side 0.187 0.187" in page
    assert "Its figures count yes yes" in page
    Path("data/reference_second/evaluator.json").unlink()
    assert "Its figures count yes -" in read()


def test_a_judge_that_has_not_run_is_missing_without_a_fault(read: Read) -> None:
    standing.fill_data()
    page = read()
    assert "No judge yet: reference has not run." in page
    assert "No sensitivity yet: reference has not run." in page


def test_each_way_of_spoiling_is_a_panel_with_both_judges(project: Path) -> None:
    standing.fill_evaluators()
    panels = sensitivity_panels(read_sensitivities(), {"gan": 0.0913, "vae": 0.153})
    assert [panel.title for panel in panels] == ["Background lifted", "Blur", "Noise", "Less contrast"]
    for panel in panels:
        assert [line["name"] for line in json.loads(panel.lines)] == ["first judge", "second judge"]
        assert all(part in panel.svg for part in ("var(--accent)", "var(--second)", "GAN 0.0913", "VAE 0.153"))
    blur, contrast = (json.loads(panels[place].lines)[0]["points"] for place in (1, 3))
    assert [words for _, _, *words in blur] == [["0.5", "0.00950"], ["1", "0.0969"], ["2", "0.418"]]
    assert blur[0][0] < blur[1][0] < blur[2][0]
    assert contrast[0][2:] == ["0.95", "0.00245"] and contrast[0][0] < contrast[1][0]  # more spoilt is to the right


def test_one_judge_alone_is_drawn_alone(read: Read) -> None:
    standing.fill_everything()
    Path("data/reference/sensitivity.csv").unlink()
    panels = sensitivity_panels(read_sensitivities(), {})
    assert [line["name"] for line in json.loads(panels[0].lines)] == ["second judge"]
    page = read()
    assert "Left out Second judge" in page
    assert "is that of real images under" not in page


def test_the_label_most_missed_comes_first(read: Read) -> None:
    standing.fill_everything()
    page = read()
    assert "Left out First judge Second judge &lt;b&gt;Coat&lt;/b&gt; 0.0639 0.0639 Bag 0.0423 0.0423" in page
    assert "width:100.0%" in render() and "width:66.2%" in render()


def test_a_models_distance_is_put_as_an_amount_of_spoiling(read: Read) -> None:
    standing.fill_everything()
    assert "The GAN's distance of 0.0913 is that of real images under a blur of 0.99 pixels, or 0.54 of the" in read()


def test_amounts_lie_between_those_that_were_tried() -> None:
    points = [(0.5, 0.01), (1.0, 0.1), (2.0, 1.0)]
    assert amount_for(points, 0.1) == pytest.approx(1.0)
    assert amount_for(points, 10**-0.5) == pytest.approx(1.5)
    assert amount_for(points, 0.009) is None
    assert amount_for(points, 1.1) is None
