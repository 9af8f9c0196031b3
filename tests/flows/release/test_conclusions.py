"""The conclusion of an earlier retraining holds for the same inputs, until something else is live."""

import json

import pytest

from tests.flows.released import ReleaseRepository, retrain, rollback

pytestmark = [pytest.mark.usefixtures("server"), pytest.mark.filterwarnings("ignore::DeprecationWarning")]


@pytest.mark.long
def test_with_nothing_new_nothing_is_done(repo: ReleaseRepository) -> None:
    retrain()
    ran, tags, branches = repo.ran(), repo.tags(), repo.branches()
    state = retrain()
    assert state.name == "Nothing new" and state.is_completed()
    assert state.message is not None and state.message.startswith("nothing new since ")
    assert (repo.ran(), repo.tags(), repo.branches()) == (ran, tags, branches)


@pytest.mark.long
def test_after_a_rollback_the_same_inputs_are_gated_again(repo: ReleaseRepository) -> None:
    retrain(models="gan")
    repo.set_params(gan=5)
    retrain(models="gan")
    assert retrain(models="gan").name == "Nothing new", "v1.1.0 is what the last run left live"
    ran, gated = repo.ran(), repo / ".work/gate/gan.json"
    assert rollback("gan").name == "Rolled back"
    gated.unlink()
    state = retrain(models="gan")
    assert (state.name, str(state.message).partition(";")[0]) == ("Released", "gan@v1.1.0 is live")
    assert json.loads(gated.read_text())["settings"] == {"seed_of_live": 0}, "gated against what is live now"
    assert repo.ran() == ran, "nothing was trained again"
    assert [tag for tag in repo.tags() if "@" in tag] == ["gan@v1.0.0", "gan@v1.1.0"]
    assert retrain(models="gan").name == "Nothing new", "and this is what that run left live"


@pytest.mark.parametrize(
    "content", ["{", '{"name": "Released", "message": "m", "run": "r", "branch": "b", "commit": "c"}']
)
def test_a_conclusion_that_is_damaged_or_of_earlier_code_is_ignored(repo: ReleaseRepository, content: str) -> None:
    retrain(models="gan")
    [conclusion] = (repo / ".work/conclusions").iterdir()
    whole = conclusion.read_text()
    conclusion.write_text(content)
    state = retrain(models="gan")
    assert state.message == "gan is already live (gan@v1.0.0)"
    assert json.loads(conclusion.read_text())["live"] == json.loads(whole)["live"]
