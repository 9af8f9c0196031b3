"""`python -m tasks.gate CANDIDATE [--live BUNDLE]`: whether a bundle may take the live one's place.

Both bundles are checked by this project's own verify.py; nothing that lies in them is executed. Then both files are run
in ONNX Runtime on the same noise, and their images go to the two judges of data/reference and data/reference_second.
Refused is what fails that check, breaks a limit of params.yaml, or cannot be shown to be no worse than the live model
by more than the margin. The decision is one JSON file; exit code 0: blessed, 1: refused, 2: it could not be decided, as
with a live bundle that is damaged. A person can override a refusal, and is then named in the decision with the reason.
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
from tasks.gate.bundles import LoadedBundle, evaluated, generator_contract
from tasks.gate.decision import decide
from tasks.gate.record import REFUSED, GateRecord, NamedBundle
from tasks.reference.protocol import REFERENCE, SECOND
from tasks.reference.statistics import load_statistics_of_both


def gate(candidate: Path, live: Path | None, pictures: Path) -> GateRecord:
    """The decision, with candidate.png and live.png of the same noise in `pictures`, where both could be judged.

    Raises UserError where no decision is possible: with a judge that fails its own checks, or a damaged live bundle.
    """
    remove(pictures)  # those of an earlier decision
    contract = generator_contract(candidate)
    if faults := [*bundle_faults(candidate), *script_faults(candidate)]:
        return _not_evaluated(candidate, live, [f"bundle: {fault}" for fault in faults])
    if live:
        _require_sound(live, contract.model)
        if unlike := contract.unlike(generator_contract(live)):
            return _not_evaluated(candidate, live, [f"not comparable: {unlike}"])
    return _judge(candidate, live, pictures)


def _require_sound(live: Path, model: str) -> None:
    """Raises UserError where the live bundle is not what was released: a comparison with it would prove nothing."""
    if not live.is_dir():
        raise UserError(f"{live} is no folder; name the live model's bundle, or leave --live out")
    if faults := bundle_faults(live):
        raise UserError(
            f"nothing can be compared with the live bundle {live}, which fails its check: {'; '.join(faults)}. The "
            "live model stays as it is; get that bundle again (from the DVC remote, if the copy in DVC's cache is "
            "damaged) and ask the gate again, or, if the release itself is damaged, make an earlier version live: "
            f"python -m flows rollback {model}"
        )


def _not_evaluated(candidate: Path, live: Path | None, reasons: list[str]) -> GateRecord:
    """A refusal for what was found before any image was judged."""
    return GateRecord(
        decision="refused",
        reasons=reasons,
        comparisons={},
        override=None,
        candidate=NamedBundle(bundle=candidate.as_posix()),
        live=NamedBundle(bundle=live.as_posix()) if live else None,
    )


def _judge(candidate: Path, live: Path | None, pictures: Path) -> GateRecord:
    params = load_params()
    first, second = load_statistics_of_both(params.evaluate, device=prepare_evaluation(params))
    if not first.trusted:
        raise UserError(
            f"the judge fails its own checks ({REFERENCE / 'evaluator.json'}), so it cannot decide anything"
        )
    references = [first, second] if second.trusted else [first]
    try:
        ours = evaluated(candidate, references, params)
    except BrokenImageError as error:
        return _not_evaluated(candidate, live, [f"images: {error}"])
    theirs = evaluated(live, references, params) if live else None
    decision = decide(ours, theirs, params.gate, params.evaluate.seed)
    _draw(pictures, ours, theirs, params.evaluate.grid)
    return GateRecord(
        decision="blessed" if decision.blessed else "refused",
        reasons=decision.reasons,
        comparisons={one.figure: one.record() for one in decision.comparisons},
        override=None,
        candidate=ours.record(),
        live=theirs.record() if theirs else None,
        settings=params.gate.model_dump() | {"seed": params.evaluate.seed},
        not_asked=None if second.trusted else f"the second judge, which fails its own checks ({SECOND}/evaluator.json)",
    )


def _draw(pictures: Path, ours: LoadedBundle, theirs: LoadedBundle | None, side: int) -> None:
    with replacing(pictures) as folder:
        folder.mkdir()
        for name, one in (("candidate", ours), ("live", theirs)):
            if one:
                write_png(folder / f"{name}.png", grid(one.shown, side))


def report(record: GateRecord) -> None:
    """Prints the verdict and what it rests on."""
    print(f"gate: {record.decision}")
    for figure, one in record.comparisons.items():
        print(f"  {figure}: {one.kind} to the live model {one.estimate:.3g} ", end="")
        print(f"({one.low:.3g} to {one.high:.3g}, margin {one.margin:.3g}): {one.verdict}")
    if record.not_asked:
        print(f"  not asked: {record.not_asked}")
    for reason in record.reasons:
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
    if given.override and not record.passed:
        record = record.overridden(given.override, given.because)
    write_json(file, record.model_dump(mode="json"))
    report(record)
    return 0 if record.passed else REFUSED


if __name__ == "__main__":
    run(lambda: sys.exit(main()))
