"""From candidates in a worktree to verdicts: gate and report. Whoever calls this holds the release lock, so that what a
candidate is compared with is what it replaces.
"""

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from flows.core.dag import dvc_command
from flows.core.orchestration import Step, conclude, report_step, submit
from flows.core.processes import Log, Outcome, ProcessGroup, StageError, StageRun
from flows.core.worktree import Worktree
from flows.release.commits import bundle_md5
from flows.release.registry import Release, live
from flows.ui.summary import REPORT
from flows.ui.verdicts import Shown
from tasks.common.errors import UserError
from tasks.common.files import remove
from tasks.gate.record import REFUSED, GateRecord, read_record

GATE_DEADLINE, FETCH_DEADLINE = 3600, 6 * 3600
REPORTS_URL = "IMAGEWRIGHT_REPORTS_URL"  # where `.work/reports` can be opened, if a server shows it

Word = Literal["blessed", "overridden", "refused", "already live"]  # the gate's, or why it was not asked
StateName = Literal["Released", "Rejected", "Nothing new"]


@dataclass(frozen=True)
class Override:
    """A person's word against the gate."""

    by: str
    because: str


@dataclass(frozen=True)
class Verdict:
    """What was decided of one model, against what was live then; `record` is None where it is live already."""

    model: str
    before: Release | None
    record: GateRecord | None

    @property
    def word(self) -> Word:
        """The decision in a word."""
        return self.record.decision if self.record else "already live"

    @property
    def passed(self) -> bool:
        """Whether it may take the live one's place."""
        return self.record is not None and self.record.passed

    def __str__(self) -> str:
        if self.record is None:
            return f"{self.model} is what is live already ({self.before})"
        against = f"against {self.before}" if self.before else "by the limits alone, since none is live"
        return "; ".join([f"{self.model} {self.word} {against}", *self.record.reasons])


def state_of(verdicts: Sequence[Verdict]) -> StateName:
    """What a run with these verdicts is called in Prefect."""
    if any(verdict.passed for verdict in verdicts):
        return "Released"
    return "Rejected" if any(verdict.record for verdict in verdicts) else "Nothing new"


def evaluator(
    place: Worktree, processes: ProcessGroup, work: Path, models: Sequence[str], override: Override | None = None
) -> list[Verdict]:
    """Brings the worktree's bundles before the gate, then writes the report: tasks of the Prefect run.

    Raises PipelineError when one of them fails; a refusal is none.
    """
    before = {model: live(place.checkout, model) for model in models}
    new = [model for model in models if not _is_live(place, model, before[model])]
    remove(work / "live")
    steps = {f"gate_{model}": _gate_step(place, processes, work, model, before[model], override) for model in new}
    futures = {name: submit(name, step) for name, step in steps.items()}
    futures["report"] = submit("report", report_step(processes), futures.values())
    conclude(futures)
    return [_verdict(work, model, before[model], model in new) for model in models]


def shown(work: Path, verdicts: Sequence[Verdict], released: Sequence[Release]) -> dict[str, Shown]:
    """The verdicts as flows.ui.artifacts shows them: the gate's records, with versions and pictures."""
    versions = {release.model: str(release) for release in released}
    pictures = {one.model: work / "gate" / one.model if one.record else None for one in verdicts}
    return {
        one.model: Shown(one.record, str(one.before), versions.get(one.model), pictures[one.model]) for one in verdicts
    }


def fetch(processes: ProcessGroup, say: Log, *targets: str) -> None:
    """Gets data of the worktree's commit from the shared cache, or from the DVC remote what is not there.

    Raises UserError where neither has it.
    """
    try:
        processes.run(dvc_command("checkout", *targets), lambda line: None, FETCH_DEADLINE)
    except StageError:
        say("not all data is in the cache; pulling it from the DVC remote")
        try:
            processes.run(dvc_command("pull", *targets), say, FETCH_DEADLINE)
        except StageError as error:
            raise UserError(
                f"{' and '.join(targets)} of this commit lies neither in DVC's cache nor on a DVC remote that answers; "
                "make it with `make run` and commit what that changed, or name the remote that has it: "
                "`make remote URL=...`"
            ) from error


def keep_report(place: Worktree, work: Path, name: str) -> str | None:
    """Keeps the run's report beyond its worktree; returns where a browser finds it."""
    if not (place.path / REPORT).is_file():
        return None
    kept = work / "reports" / name / REPORT.name
    kept.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(place.path / REPORT, kept)
    base = os.environ.get(REPORTS_URL)
    return f"{base}/{name}/{REPORT.name}" if base else kept.as_uri()


def _is_live(place: Worktree, model: str, release: Release | None) -> bool:
    made = bundle_md5(place.path, model)
    return release is not None and made is not None and made == bundle_md5(place.checkout, model, release.commit)


def _gate_step(
    place: Worktree, processes: ProcessGroup, work: Path, model: str, before: Release | None, override: Override | None
) -> Step:
    command = ["python", "-m", "tasks.gate", f"data/bundle/{model}"]
    bundle = live_bundle(work, before)
    command += ["--live", str(bundle)] if bundle else []
    command += ["--override", override.by, "--because", override.because] if override else []

    def step(say: Log) -> StageRun:
        remove(record_of(work, model))  # or an earlier run's would be taken for the word of a gate that died
        if bundle and before:
            bundle.parent.mkdir(exist_ok=True)
            what = [str(place.checkout), f"data/bundle/{model}", "--rev", before.commit, "--out", str(bundle)]
            processes.run(dvc_command("get", *what), say, FETCH_DEADLINE)
        seconds = processes.run(command, say, GATE_DEADLINE, fine=(0, REFUSED))
        if not record_of(work, model).is_file():
            raise StageError("the gate ended without a decision; its log says where")
        return StageRun(f"gate_{model}", Outcome.RAN, seconds)

    return step


def live_bundle(work: Path, release: Release | None) -> Path | None:
    """Where the live model's bundle lies while a candidate is compared with it."""
    return work / "live" / str(release) if release else None


def record_of(work: Path, model: str) -> Path:
    """Where the gate's record of a model lies."""
    return work / "gate" / f"{model}.json"


def _verdict(work: Path, model: str, before: Release | None, new: bool) -> Verdict:
    return Verdict(model, before, read_record(record_of(work, model)) if new else None)
