"""`python -m tasks.gate CANDIDATE [--live BUNDLE]`: whether a bundle may take the live one's place.

Both files are run in ONNX Runtime on the same noise and looked at by the judge of data/reference. Refused is what fails
its own check, breaks a limit of params.yaml, or cannot be shown to be no worse than the live model by more than the
margin. The decision is one JSON file; exit code 0: blessed, 1: refused, 2: it could not be decided. A person can
override a refusal, and is then named in the decision with the reason.
"""

import argparse
import sys
from pathlib import Path

from tasks.console import run
from tasks.errors import UserError
from tasks.files import read_json, write_json
from tasks.gate.bundles import faults, judged, read_contract
from tasks.gate.decision import Decision, decide
from tasks.judge import REFERENCE, load_judge
from tasks.params import load_params
from tasks.runtime import limit_threads
from tasks.scores import load_real, protocol
from tasks.workplace import work_folder

VERDICTS = {True: "blessed", False: "refused"}


def gate(candidate: Path, live: Path | None) -> dict[str, object]:
    """The decision; raises UserError where none is possible, as with a judge that fails its own checks."""
    contract = read_contract(candidate)
    decision, record = Decision(), dict[str, object]({"candidate": {"bundle": candidate.as_posix()}, "live": None})
    decision.reasons += [f"bundle: {fault}" for fault in faults(candidate)]
    unlike = contract.unlike(read_contract(live)) if live else None
    if unlike:
        decision.reasons.append(f"not comparable: {unlike}")
    if decision.blessed:
        decision, judgement = _judge(candidate, live)
        record |= judgement
    record |= {
        "decision": VERDICTS[decision.blessed],
        "reasons": decision.reasons,
        "comparisons": {one.figure: one.record() for one in decision.comparisons},
        "override": None,
    }
    return record


def _judge(candidate: Path, live: Path | None) -> tuple[Decision, dict[str, object]]:
    params, real = load_params(), load_real()
    limit_threads(params.threads)
    judge, network = load_judge()
    if not read_json(REFERENCE / "judge.json")["counts"]:
        raise UserError("the judge fails its own checks (data/reference/judge.json), so it cannot decide anything")
    folders = [candidate] if live is None else [candidate, live]
    ours, *theirs = (judged(folder, judge, real, params) for folder in folders)
    decision = decide(ours, theirs[0] if theirs else None, real, params.gate, params.evaluate.seed)
    return decision, {
        "candidate": ours.record(),
        "live": theirs[0].record() if theirs else None,
        "protocol": protocol(real, network, params.evaluate),
    }


def override(record: dict[str, object], who: str, why: str) -> None:
    """A person's word against a refusal, kept beside it."""
    record["override"] = {"by": who, "because": why}
    record["decision"] = "overridden"


def report(record: dict[str, object]) -> None:
    """Prints the verdict and what it rests on."""
    print(f"gate: {record['decision']}")
    reasons, comparisons = record["reasons"], record["comparisons"]
    assert isinstance(reasons, list) and isinstance(comparisons, dict)
    for figure, one in comparisons.items():
        print(f"  {figure}: {one['kind']} to the live model {one['estimate']:.3g} ", end="")
        print(f"({one['low']:.3g} to {one['high']:.3g}, margin {one['margin']:.3g}): {one['verdict']}")
    for reason in reasons:
        print(f"  {reason}")


def main() -> int:
    """Parses, decides, writes; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("candidate", type=Path, help="a bundle, such as data/bundle/gan")
    parser.add_argument("--live", type=Path, metavar="BUNDLE", help="what it would replace; none: limits alone")
    parser.add_argument("--override", metavar="WHO", help="who takes the responsibility for it all the same")
    parser.add_argument("--because", metavar="WHY", help="the reason that this person gives")
    parser.add_argument("--json", type=Path, help="where the decision goes; .work/gate/MODEL.json unless told")
    given = parser.parse_args()
    if bool(given.override) != bool(given.because):
        parser.error("--override WHO and --because WHY belong together")
    record = gate(given.candidate, given.live)
    if given.override and record["decision"] == "refused":
        override(record, given.override, given.because)
    write_json(given.json or work_folder() / "gate" / f"{read_contract(given.candidate).model}.json", record)
    report(record)
    return int(record["decision"] == "refused")


if __name__ == "__main__":
    run(lambda: sys.exit(main()))
