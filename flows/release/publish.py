"""From verdicts to releases: pack, push, commit, tag. Whoever calls this holds the release lock."""

from collections.abc import Sequence
from pathlib import Path
from typing import assert_never

from flows.core.orchestration import conclude, submit
from flows.core.processes import Log, Outcome, ProcessGroup, StageRun
from flows.core.worktree import Worktree
from flows.release.commits import bundle_md5, change, commit_release, notes_of, pack, publish_refs, push_data
from flows.release.promote import Verdict, live_bundle, record_of
from flows.release.registry import Release, Stage, assign, next_version, register, releases

PUSH_RETRIES, PUSH_DELAY_SECONDS = 3, 20.0


def goes(verdict: Verdict, stage: Stage) -> bool:
    """Whether a model goes to a stage: what passed to `live`, whatever was judged to `candidate`."""
    match stage:
        case "live":
            return verdict.passed
        case "candidate":
            return verdict.record is not None
        case _:
            assert_never(stage)


def publish(
    place: Worktree,
    processes: ProcessGroup,
    work: Path,
    verdicts: Sequence[Verdict],
    branch: str | None,
    run: str,
    stage: Stage = "live",
) -> list[Release]:
    """Packs what is new, pushes the data, then commits and tags the models that passed, and pushes `branch` and tags.

    To `candidate` goes whatever was judged, with the gate's word in its lineage. Tasks of the Prefect run; raises
    PipelineError when one of them fails. Returns what was released.
    """
    going = [one for one in verdicts if goes(one, stage)]
    known = {one.model: _known(place, one.model) for one in going}
    new = [one for one in going if known[one.model] is None]
    made: list[Release] = []

    def packing(say: Log) -> StageRun:
        for verdict in new:
            pack(processes, _next(place, work, verdict), verdict.before, run, record_of(work, verdict.model), say)
        return StageRun("pack", Outcome.RAN)

    def push(say: Log) -> StageRun:
        push_data(processes, say)
        return StageRun("push", Outcome.RAN)

    def tag(say: Log) -> StageRun:
        packed = [_next(place, work, verdict) for verdict in new]
        commit = commit_release(place.path, packed) if packed else place.head()
        for one in packed:
            known[one.model] = Release(one.model, one.version, commit)
            register(place.checkout, Release(one.model, one.version, commit), notes_of(place.path, one.model))
        for verdict in going:
            release = known[verdict.model]
            assert release is not None
            if not (stage == "live" and verdict.before == release):
                assign(place.checkout, release, stage, f"{release} is {stage}; {verdict}")
            made.append(release)
            say(f"{release} is {stage}" + (f" in the place of {verdict.before}" if verdict.before else ""))
        publish_refs(place.checkout, branch, say)
        return StageRun("release", Outcome.RAN)

    futures = {"pack": submit("pack", packing)}
    futures["push"] = submit("push", push, [futures["pack"]], retries=PUSH_RETRIES, delay=PUSH_DELAY_SECONDS)
    futures["release"] = submit("release", tag, [futures["push"]])
    conclude(futures)
    return made


def _known(place: Worktree, model: str) -> Release | None:
    """The release that has this very bundle already."""
    made = bundle_md5(place.path, model)
    same = [one for one in releases(place.checkout, model) if bundle_md5(place.checkout, model, one.commit) == made]
    return same[-1] if same else None


def _next(place: Worktree, work: Path, verdict: Verdict) -> Release:
    """The version that a new bundle gets; its commit is the results' until there is one of the release."""
    kind = change(place.path / "data/bundle" / verdict.model, live_bundle(work, verdict.before))
    return Release(verdict.model, next_version(place.checkout, verdict.model, kind), place.head())
