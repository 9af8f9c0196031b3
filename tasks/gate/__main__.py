"""`python -m tasks.gate CANDIDATE [--live BUNDLE]`: whether a bundle may take the live one's place.

Both files are run in ONNX Runtime on the same noise and looked at by the two judges of data/reference and
data/reference_second. Refused is what fails its own check, breaks a limit of params.yaml, or cannot be shown to be no
worse than the live model by more than the margin. The decision is one JSON file; exit code 0: blessed, 1: refused, 2:
it could not be decided. A person can override a refusal, and is then named in the decision with the reason.
"""

import argparse
import sys
from pathlib import Path

from tasks.bundle.folder import bundle_faults
from tasks.console import run
from tasks.errors import UserError
from tasks.evaluate.drawing import BrokenImageError
from tasks.files import replacing, write_json
from tasks.gate.bundles import generator_contract, judged
from tasks.gate.decision import Decision, decide
from tasks.params import load_params
from tasks.pictures import grid, write_png
from tasks.protocol import REFERENCE, SECOND
from tasks.runtime import prepare_judging
from tasks.workplace import work_folder
from tasks.yardstick import load_yardsticks

VERDICTS = {True: "blessed", False: "refused"}


def gate(candidate: Path, live: Path | None, pictures: Path) -> dict[str, object]:
    """The decision, with candidate.png and live.png of the same noise in `pictures`, where both could be judged.

    Raises UserError where no decision is possible, as with a judge that fails its own checks.
    """
    contract = generator_contract(candidate)
    decision, record = Decision(), dict[str, object]({"candidate": {"bundle": candidate.as_posix()}, "live": None})
    decision.reasons += [f"bundle: {fault}" for fault in bundle_faults(candidate)]
    unlike = contract.unlike(generator_contract(live)) if live else None
    if unlike:
        decision.reasons.append(f"not comparable: {unlike}")
    if decision.blessed:
        decision, judgement = _judge(candidate, live, pictures)
        record |= judgement
    record |= {
        "decision": VERDICTS[decision.blessed],
        "reasons": decision.reasons,
        "comparisons": {one.figure: one.record() for one in decision.comparisons},
        "override": None,
    }
    return record


def _judge(candidate: Path, live: Path | None, pictures: Path) -> tuple[Decision, dict[str, object]]:
    params = load_params()
    first, second = load_yardsticks(params.evaluate, device=prepare_judging(params))
    if not first.counts:
        raise UserError(f"the judge fails its own checks ({REFERENCE / 'judge.json'}), so it cannot decide anything")
    yardsticks = [first, second] if second.counts else [first]
    try:
        ours = judged(candidate, yardsticks, params)
    except BrokenImageError as error:
        return Decision([f"images: {error}"]), {}
    theirs = judged(live, yardsticks, params) if live else None
    decision = decide(ours, theirs, params.gate, params.evaluate.seed)
    with replacing(pictures) as folder:
        folder.mkdir()
        for name, one in (("candidate", ours), ("live", theirs)):
            if one:
                write_png(folder / f"{name}.png", grid(one.shown, params.evaluate.grid))
    return decision, {
        "candidate": ours.record(),
        "live": theirs.record() if theirs else None,
        "settings": params.gate.model_dump() | {"seed": params.evaluate.seed},
        "not_asked": None if second.counts else f"the second judge, which fails its own checks ({SECOND}/judge.json)",
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
    if record.get("not_asked"):
        print(f"  not asked: {record['not_asked']}")
    for reason in reasons:
        print(f"  {reason}")


def main() -> int:
    """Parses, decides, writes; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("candidate", type=Path, help="a bundle, such as data/bundle/gan")
    parser.add_argument("--live", type=Path, metavar="BUNDLE", help="what it would replace; none: limits alone")
    parser.add_argument("--override", metavar="WHO", help="who takes the responsibility for it all the same")
    parser.add_argument("--because", metavar="WHY", help="the reason that this person gives")
    parser.add_argument(
        "--json", type=Path, help="where the decision goes, pictures beside it; .work/gate/MODEL.json unless told"
    )
    given = parser.parse_args()
    if bool(given.override) != bool(given.because):
        parser.error("--override WHO and --because WHY belong together")
    file = given.json or work_folder() / "gate" / f"{generator_contract(given.candidate).model}.json"
    record = gate(given.candidate, given.live, file.with_suffix(""))
    if given.override and record["decision"] == "refused":
        override(record, given.override, given.because)
    write_json(file, record)
    report(record)
    return int(record["decision"] == "refused")


if __name__ == "__main__":
    run(lambda: sys.exit(main()))
