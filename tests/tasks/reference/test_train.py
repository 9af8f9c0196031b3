"""The choice of the evaluators: explicit networks, `auto`, and combinations that are refused."""

from pathlib import Path
from unittest.mock import Mock

import pytest

from tasks.common.errors import UserError
from tasks.common.params import Params, check_params, load_params
from tasks.reference.train import _make, _Stage, first_kind, second_kind

FIRST = ("classifier", "selfsupervised", "inception", "dinov2")
SECOND = ("selfsupervised", "random", "inception", "dinov2")
ALIKE = [("selfsupervised", "selfsupervised"), ("inception", "inception"), ("dinov2", "dinov2")]


def params_with(first: str, second: str = "auto") -> Params:
    values = load_params().model_dump()
    values["reference"]["network"], values["reference_second"]["network"] = first, second
    return check_params(values, "params.yaml")


@pytest.mark.parametrize(
    ("network", "labelled", "kind"),
    [
        ("auto", True, "classifier"),
        ("auto", False, "selfsupervised"),
        ("classifier", True, "classifier"),
        *((network, labelled, network) for network in FIRST[1:] for labelled in (True, False)),
    ],
)
def test_the_first_evaluator(network: str, labelled: bool, kind: str) -> None:
    assert first_kind(params_with(network), labelled) == kind


def test_a_classifier_needs_labels() -> None:
    sentence = r"^params\.yaml: reference\.network is classifier, but the data has no labels; set it to auto$"
    with pytest.raises(UserError, match=sentence):
        first_kind(params_with("classifier"), labelled=False)
    with pytest.raises(UserError, match=sentence):
        second_kind(params_with("classifier", "random"), labelled=False)


@pytest.mark.parametrize(
    ("first", "labelled", "kind"),
    [
        ("auto", True, "selfsupervised"),
        ("auto", False, "random"),
        ("classifier", True, "selfsupervised"),
        ("selfsupervised", True, "random"),
        ("selfsupervised", False, "random"),
        ("inception", True, "selfsupervised"),
        ("inception", False, "selfsupervised"),
        ("dinov2", True, "selfsupervised"),
        ("dinov2", False, "selfsupervised"),
    ],
)
def test_auto_chooses_another_second_evaluator(first: str, labelled: bool, kind: str) -> None:
    params = params_with(first)
    assert second_kind(params, labelled) == kind != first_kind(params, labelled)


@pytest.mark.parametrize("labelled", [True, False])
@pytest.mark.parametrize("second", SECOND)
@pytest.mark.parametrize("first", ["auto", *FIRST])
def test_the_second_evaluator_is_as_asked_unless_the_first_is_equal(first: str, second: str, labelled: bool) -> None:
    if (first, second) in ALIKE or (first == "classifier" and not labelled):
        return
    params = params_with(first, second)
    if first_kind(params, labelled) == second:
        with pytest.raises(UserError, match=f"reference_second.network is {second}, as the first evaluator is"):
            second_kind(params, labelled)
    else:
        assert second_kind(params, labelled) == second


def test_auto_without_labels_may_equal_the_second_evaluator() -> None:
    """`Params` cannot check this, since it does not know the data."""
    assert second_kind(params_with("auto", "selfsupervised"), labelled=True) == "selfsupervised"
    with pytest.raises(UserError, match="set it to auto"):
        second_kind(params_with("auto", "selfsupervised"), labelled=False)


@pytest.mark.parametrize(("first", "second"), ALIKE)
def test_equal_networks_are_refused_without_data(first: str, second: str) -> None:
    with pytest.raises(UserError, match="both evaluators use the same network"):
        params_with(first, second)


@pytest.mark.parametrize(("first", "second"), [("random", "auto"), ("classifier", "classifier"), ("vgg", "auto")])
def test_an_unknown_network_is_refused(first: str, second: str) -> None:
    with pytest.raises(UserError, match=r"`reference(_second)?\.network` is '"):
        params_with(first, second)


def test_auto_is_accepted_for_both() -> None:
    assert params_with("auto", "auto").reference_second.network == "auto"


def test_a_checkpoint_to_resume_is_refused_where_nothing_is_trained(tmp_path: Path) -> None:
    params = params_with("auto", "random")
    stage = _Stage("reference_second", params.reference_second, tmp_path, params, Mock(), tmp_path / "checkpoint")
    with pytest.raises(UserError, match="reference_second trains nothing where its network is random; leave --resume"):
        _make(stage, "random")
