"""Which models of a run may be assigned which stage of the registry."""

import pytest

from flows.release.promote import Verdict, state_name
from flows.release.publish import qualifies
from flows.release.registry import Release
from tasks.gate.record import GateOutcome, GateRecord

LIVE = Release("gan", "v1.0.0", "c" * 40)


def verdict(outcome: GateOutcome | None) -> Verdict:
    """Returns the verdict with an outcome of the gate; None for a model that is live already."""
    if outcome is None:
        return Verdict("gan", LIVE, None)
    record = {"decision": outcome, "reasons": [], "comparisons": {}, "override": None, "live": None}
    return Verdict("gan", LIVE, GateRecord.model_validate(record | {"candidate": {"bundle": "data/bundle/gan"}}))


@pytest.mark.parametrize(
    ("outcome", "live", "candidate", "state"),
    [
        ("blessed", True, True, "Released"),
        ("overridden", True, True, "Released"),
        ("refused", False, True, "Rejected"),
        (None, False, False, "Nothing new"),
    ],
)
def test_models_that_passed_go_live_and_evaluated_ones_may_be_candidates(
    outcome: GateOutcome | None, live: bool, candidate: bool, state: str
) -> None:
    found = verdict(outcome)
    assert (qualifies(found, "live"), qualifies(found, "candidate")) == (live, candidate)
    assert state_name([found]) == state
