"""Releases the models that the gate passed: pack, push, commit, tag. The caller holds the release lock."""

from collections.abc import Sequence
from functools import partial
from typing import assert_never

from flows.core.git import commit_of
from flows.core.orchestration import collect, submit
from flows.core.processes import Log, Outcome, ProcessGroup, StageRun
from flows.core.worktree import Worktree
from flows.release.commits import bundle_md5, change, commit_release, notes_of, pack, publish_refs, push_data
from flows.release.promote import Verdict, live_bundle, record_of
from flows.release.registry import Release, Stage, assign, next_version, register, releases

PUSH_RETRIES, PUSH_DELAY_SECONDS = 3, 20.0


def qualifies(verdict: Verdict, stage: Stage) -> bool:
    """Returns whether a model may be assigned a stage: `live` if it passed, `candidate` if the gate evaluated it."""
    match stage:
        case "live":
            return verdict.passed
        case "candidate":
            return verdict.record is not None
    assert_never(stage)


def publish(
    worktree: Worktree, processes: ProcessGroup, verdicts: Sequence[Verdict], branch: str | None, stage: Stage = "live"
) -> list[Release]:
    """Packs new bundles, pushes the data, commits and tags the models that qualify, and pushes `branch` and tags.

    These are tasks of the Prefect run; raises PipelineError when one of them fails. The lineage of a release holds the
    gate's decision. Returns the releases.
    """
    qualified = [verdict for verdict in verdicts if qualifies(verdict, stage)]
    released = {verdict.model: known for verdict in qualified if (known := _registered(worktree, verdict.model))}
    new = [verdict for verdict in qualified if verdict.model not in released]

    def pack_new(log: Log) -> StageRun:
        for verdict in new:
            record = record_of(worktree, verdict.model)
            pack(processes, _next(worktree, verdict), verdict.before, worktree.name, record, log)
        return StageRun("pack", Outcome.RAN)

    def tag(log: Log) -> StageRun:
        packed = [_next(worktree, verdict) for verdict in new]
        commit = commit_release(worktree.path, packed) if packed else commit_of(worktree.path, "HEAD")
        for release in packed:
            released[release.model] = Release(release.model, release.version, commit)
            register(worktree.checkout, released[release.model], notes_of(worktree.path, release.model))
        for verdict in qualified:
            release = released[verdict.model]
            if not (stage == "live" and verdict.before == release):
                assign(worktree.checkout, release, stage, f"{release} is {stage}; {verdict}")
            log(f"{release} is {stage}" + (f" and replaces {verdict.before}" if verdict.before else ""))
        publish_refs(worktree.checkout, branch, log)
        return StageRun("release", Outcome.RAN)

    futures, push = {"pack": submit("pack", pack_new)}, partial(push_data, processes)
    futures["push"] = submit("push", push, [futures["pack"]], retries=PUSH_RETRIES, delay=PUSH_DELAY_SECONDS)
    futures["release"] = submit("release", tag, [futures["push"]])
    collect(futures)
    return [released[verdict.model] for verdict in qualified]


def _registered(worktree: Worktree, model: str) -> Release | None:
    """Returns the last release that has the same bundle as the worktree."""
    md5 = bundle_md5(worktree.path, model)
    known = reversed(releases(worktree.checkout, model))
    return next((release for release in known if bundle_md5(worktree.checkout, model, release.commit) == md5), None)


def _next(worktree: Worktree, verdict: Verdict) -> Release:
    """Returns the release that a new bundle becomes, with the results' commit, since its own does not exist yet."""
    kind = change(worktree.path / "data/bundle" / verdict.model, live_bundle(worktree, verdict.before))
    version = next_version(worktree.checkout, verdict.model, kind)
    return Release(verdict.model, version, commit_of(worktree.path, "HEAD"))
