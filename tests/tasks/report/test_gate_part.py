"""The gate's decision on the page, in every form that the gate writes."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.common.errors import UserError
from tasks.common.files import read_json, write_json
from tasks.report.decisions import decisions
from tasks.report.page import render
from tests.tasks.report import standing

Read = Callable[[], str]
pytestmark = pytest.mark.usefixtures("rendered_once")
DECISION = Path(".work/gate/gan.json")


def decide(**changes: object) -> None:
    """Writes the GAN's decision with some values changed."""
    write_json(DECISION, read_json(DECISION) | changes)


def test_without_a_decision_the_page_names_the_command(read: Read) -> None:
    assert "The gate has made no decision yet. imagewright gate data/bundle/gan --live BUNDLE" in read()


def test_a_refusal_stands_beside_the_verdict_with_its_reasons(read: Read) -> None:
    standing.fill_everything()
    page = read()
    sentence = re.search(r"refused The gate compared data/bundle/gan \(SHA-256 [0-9a-f]{12}\) with the live", page)
    assert sentence and page.index("is closer to") < sentence.start() < page.index("Samples")
    result = "relative Fréchet distance worse, precision perhaps worse, coverage better and no limit broken"
    against = f"bundle live/gan (SHA-256 {'f' * 12}) and the limits of params.yaml"
    assert f"{against}, found {result}, and refused the candidate: it may not go live." in page
    assert "&lt;beyond the margin&gt;" in page
    assert "Not used: the second evaluator, which fails its own checks (data/reference_second/evaluator.json)." in page
    assert "another file" not in page


def test_every_comparison_is_a_row(read: Read) -> None:
    standing.fill_everything()
    page = read()
    for row in (
        "fd_relative candidate divided by live; below 1 is better 1.52 1.47 to 1.58 1.35 worse",
        "precision candidate minus live; above 0 is better -0.0400 -0.0610 to -0.0200 -0.0500 perhaps worse",
        "coverage candidate minus live; above 0 is better 0.0210 0.0110 to 0.0320 -0.0500 better",
    ):
        assert row in page
    assert page.index("fd_relative cand") < page.index("precision cand") < page.index("coverage cand")
    assert "The interval (95 %) shows" in page


def test_marks_lie_on_the_strip_in_the_order_of_their_values(project: Path) -> None:
    standing.fill_everything()
    strip = decisions()[0]["comparisons"][0]["strip"]
    assert sorted(strip, key=strip.__getitem__) == ["equal", "margin", "low", "estimate", "high"]
    assert 0 < strip["equal"] < strip["high"] < 100


def test_a_blessing_needs_no_reasons(read: Read) -> None:
    standing.fill_everything()
    decide(decision="blessed", reasons=[], skipped=None, live=None, comparisons={})
    page = read()
    assert "blessed The gate compared data/bundle/gan" in page
    assert "with the limits of params.yaml alone, as no model is live, found no limit broken, and blessed" in page
    assert "Not used" not in page


def test_who_overrode_a_refusal_is_named(read: Read) -> None:
    standing.fill_everything()
    decide(decision="overridden", override={"by": "<Ada>", "because": "the live one is broken"})
    page = read()
    assert "refused the candidate, but &lt;Ada&gt; overrode that: it may go live" in page
    assert "&lt;Ada&gt; gave this reason for the override: the live one is broken" in page
    assert "beyond the margin" in page


def test_a_decision_about_another_file_says_so(read: Read) -> None:
    standing.fill_everything()
    Path("data/bundle/gan/gan.onnx").write_bytes(b"trained since")
    assert "This decision is about another file than the present data/bundle/gan/gan.onnx" in read()
    Path("data/bundle/gan/gan.onnx").unlink()
    assert "data/bundle/gan/gan.onnx does not exist" in read()


def test_a_broken_bundle_is_refused_without_evaluation(read: Read) -> None:
    standing.fill_everything()
    record = {"candidate": {"bundle": "data/bundle/gan"}, "live": None, "decision": "refused", "override": None}
    write_json(DECISION, record | {"reasons": ["bundle: gan.onnx is missing"], "comparisons": {}})
    page = read()
    assert "refused The gate checked data/bundle/gan, did not evaluate its images, and refused the candidate" in page
    assert "bundle: gan.onnx is missing" in page
    assert "another file" not in page  # the record does not name the file


@pytest.mark.parametrize("change", [{"comparisons": None}, {"decision": "maybe"}, {"surprise": 1}, {"live": {}}])
def test_a_record_of_another_form_is_one_sentence(project: Path, change: dict[str, object]) -> None:
    standing.fill_everything()
    decide(**change)
    key = next(iter(change))
    with pytest.raises(
        UserError, match=rf"gan\.json is damaged, or was written by another version \({key}.*run the gate"
    ):
        decisions()
    DECISION.write_text("{")
    with pytest.raises(UserError, match=r"gan\.json is damaged, .*Invalid JSON.*run the gate again"):
        decisions()


def test_candidate_and_live_model_stand_side_by_side(project: Path) -> None:
    standing.fill_everything()
    assert list(decisions()[0]["pictures"]) == ["Candidate", "Live"]
    assert "from the same noise, so each" in render()
    Path(".work/gate/gan/live.png").unlink()
    assert list(decisions()[0]["pictures"]) == ["Candidate"]
    assert "from the same noise, so each" not in render()
