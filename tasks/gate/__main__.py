"""`imagewright gate CANDIDATE [--live BUNDLE]`: decides whether a bundle may replace the live one.

First, this project's own verify.py checks both bundles; nothing that a bundle contains is executed. Then ONNX Runtime
generates images with both files from the same noise, and the two evaluators of data/reference and
data/reference_second measure them. The gate refuses a candidate that fails the check, breaks a limit of params.yaml, or
may be worse than the live model by more than the margin. It writes the decision to one JSON file. Exit codes: 0 blessed
(accepted), 1 refused, 2 no decision possible, for example because the live bundle is damaged. A person can override a
refusal; the decision then names the person and the reason.
"""

import argparse
import sys
from pathlib import Path

from tasks.bundle.faults import bundle_faults, script_faults
from tasks.common.cli import run
from tasks.common.errors import UserError
from tasks.common.files import remove, replacing, write_json
from tasks.common.image_grid import grid, write_png
from tasks.common.params import load_params
from tasks.common.paths import work_folder
from tasks.common.runtime import prepare_evaluation
from tasks.evaluate.sampling import BrokenImageError
from tasks.gate.bundles import evaluate_bundle, generator_contract
from tasks.gate.decision import decide
from tasks.gate.record import REFUSED, GateRecord, NamedBundle
from tasks.reference.protocol import REFERENCE
from tasks.reference.statistics import load_statistics_of_both


def gate(candidate: Path, live: Path | None, pictures: Path) -> GateRecord:
    """Decides on a candidate; where its images were evaluated, writes candidate.png and live.png to `pictures`.

    Raises UserError where no decision is possible: the evaluator fails its own checks, or the live bundle is damaged.
    """
    remove(pictures)  # those of an earlier decision
    contract = generator_contract(candidate)
    if faults := [*bundle_faults(candidate), *script_faults(candidate)]:
        return _not_evaluated(candidate, live, [f"bundle: {fault}" for fault in faults])
    if live:
        _require_sound(live, contract.model)
        if difference := contract.differs(generator_contract(live)):
            return _not_evaluated(candidate, live, [f"not comparable: {difference}"])
    return _evaluate_and_decide(candidate, live, pictures)


def _require_sound(live: Path, model: str) -> None:
    """Raises UserError where the live bundle is not what was released: a comparison with it would prove nothing."""
    if not live.is_dir():
        raise UserError(f"{live} is not a folder; name the live model's bundle, or omit --live")
    if faults := bundle_faults(live):
        raise UserError(
            f"the live bundle {live} fails its check, so nothing can be compared with it: {'; '.join(faults)}. The "
            "live model stays as it is. Get that bundle again (from the DVC remote, if the copy in DVC's cache is "
            "damaged) and run the gate again, or, if the release itself is damaged, make an earlier version live: "
            f"imagewright rollback {model}"
        )


def _not_evaluated(candidate: Path, live: Path | None, reasons: list[str]) -> GateRecord:
    """Returns the record of a refusal without evaluated images."""
    return GateRecord(
        decision="refused",
        reasons=reasons,
        comparisons={},
        override=None,
        candidate=NamedBundle(bundle=candidate.as_posix()),
        live=NamedBundle(bundle=live.as_posix()) if live else None,
    )


def _evaluate_and_decide(candidate: Path, live: Path | None, pictures: Path) -> GateRecord:
    params = load_params()
    first, second = load_statistics_of_both(params.evaluate, device=prepare_evaluation(params))
    if not first.trusted:
        raise UserError(
            f"the first evaluator fails its own checks ({REFERENCE / 'evaluator.json'}), so the gate cannot decide"
        )
    references = [first, second] if second.trusted else [first]
    try:
        ours = evaluate_bundle(candidate, references, params)
    except BrokenImageError as error:
        return _not_evaluated(candidate, live, [f"images: {error}"])
    theirs = evaluate_bundle(live, references, params) if live else None
    decision = decide(ours, theirs, params.gate, params.evaluate.seed)
    with replacing(pictures) as folder:
        folder.mkdir()
        for name, bundle in (("candidate", ours), ("live", theirs)):
            if bundle:
                write_png(folder / f"{name}.png", grid(bundle.samples, params.evaluate.grid))
    return GateRecord(**dict(decision), candidate=ours.record(), live=theirs.record() if theirs else None)


def print_decision(record: GateRecord) -> None:
    """Prints the decision, the comparisons and the reasons."""
    print(f"gate: {record.decision}. {record.sentence}")
    for name, one in record.comparisons.items():
        interval = f"{one.low:.3g} to {one.high:.3g}, margin {one.margin:.3g}"
        print(f"  {name}: {one.kind} to the live model {one.estimate:.3g} ({interval}): {one.verdict}")
    if record.skipped:
        print(f"  not used: {record.skipped}")
    for reason in record.reasons:
        print(f"  {reason}")


def main() -> int:
    """Parses the arguments, decides, writes the record and returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("candidate", type=Path, help="a bundle, such as data/bundle/gan")
    parser.add_argument("--live", type=Path, metavar="BUNDLE", help="the live bundle; default: check limits only")
    parser.add_argument("--override", metavar="WHO", help="the person who accepts a refused candidate anyway")
    parser.add_argument("--because", metavar="WHY", help="the reason that this person gives")
    parser.add_argument(
        "--json", type=Path, help="the file for the decision, pictures beside it; default: .work/gate/MODEL.json"
    )
    arguments = parser.parse_args()
    if bool(arguments.override) != bool(arguments.because):
        parser.error("--override WHO and --because WHY must be given together")
    file = arguments.json or work_folder() / "gate" / f"{generator_contract(arguments.candidate).model}.json"
    record = gate(arguments.candidate, arguments.live, file.with_suffix(""))
    if arguments.override and not record.passed:
        record = record.overridden(arguments.override, arguments.because)
    write_json(file, record.model_dump(mode="json"))
    print_decision(record)
    return 0 if record.passed else REFUSED


if __name__ == "__main__":
    run(lambda: sys.exit(main()))
