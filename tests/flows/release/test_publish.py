"""Which models of a run go to which stage of the registry."""

import pytest

from flows.release.promote import Verdict, state_of
from flows.release.publish import goes
from flows.release.registry import Release
from tasks.gate.record import GateRecord, Word

LIVE = Release("gan", "v1.0.0", "c" * 40)


def verdict(word: Word | None) -> Verdict:
    """The gate's word on a model; None: it is live already, so the gate was not asked."""
    if word is None:
        return Verdict("gan", LIVE, None)
    record = {"decision": word, "reasons": [], "comparisons": {}, "override": None, "live": None}
    return Verdict("gan", LIVE, GateRecord.model_validate(record | {"candidate": {"bundle": "data/bundle/gan"}}))


@pytest.mark.parametrize(
    ("word", "live", "candidate", "state"),
    [
        ("blessed", True, True, "Released"),
        ("overridden", True, True, "Released"),
        ("refused", False, True, "Rejected"),
        (None, False, False, "Nothing new"),
    ],
)
def test_what_passed_goes_live_and_what_was_judged_may_be_a_candidate(
    word: Word | None, live: bool, candidate: bool, state: str
) -> None:
    one = verdict(word)
    assert (goes(one, "live"), goes(one, "candidate"), state_of([one])) == (live, candidate, state)
