"""Runs gate and report on the candidates in a worktree.

The caller holds the release lock, so that a candidate replaces the same version that it was compared with.
"""

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from flows.core.dag import dvc_command
from flows.core.orchestration import Step, collect, report_step, submit
from flows.core.processes import Log, Outcome, ProcessGroup, StageError, StageRun
from flows.core.worktree import Worktree
from flows.release.commits import bundle_md5
from flows.release.registry import Release, live
from flows.ui.summary import REPORT
from flows.ui.verdicts import ModelSummary
from tasks.common.errors import UserError
from tasks.common.files import remove
from tasks.gate.record import REFUSED, GateOutcome, GateRecord, Override, read_record

GATE_DEADLINE, FETCH_DEADLINE = 3600, 6 * 3600
REPORTS_URL = "IMAGEWRIGHT_REPORTS_URL"  # the address at which a server shows `.work/reports`, if one does

StateName = Literal["Released", "Rejected", "Nothing new"]


@dataclass(frozen=True)
class Verdict:
    """The gate's record of a model, and the live release that it was compared with.

    `record` is None if the candidate is the live release already.
    """

    model: str
    before: Release | None
    record: GateRecord | None

    @property
    def decision(self) -> GateOutcome | Literal["already live"]:
        """The gate's decision, or that the model is already live."""
        return self.record.decision if self.record else "already live"

    @property
    def passed(self) -> bool:
        """Whether the candidate may replace the live release."""
        return self.record is not None and self.record.passed

    def __str__(self) -> str:
        if self.record is None:
            return f"{self.model} is already live ({self.before})"
        against = f"against {self.before}" if self.before else "by the limits alone, because no version is live"
        return "; ".join([f"{self.model} {self.decision} {against}", *self.record.reasons])


def state_name(verdicts: Sequence[Verdict]) -> StateName:
    """Returns the name of the Prefect state in which a run with these verdicts ends."""
    if any(verdict.passed for verdict in verdicts):
        return "Released"
    return "Rejected" if any(verdict.record for verdict in verdicts) else "Nothing new"


def run_gate(
    worktree: Worktree, processes: ProcessGroup, work: Path, models: Sequence[str], override: Override | None = None
) -> list[Verdict]:
    """Runs the gate on the worktree's bundles, then writes the report, as tasks of the Prefect run.

    Raises PipelineError when a task fails; a refusal is no failure.
    """
    before = {model: live(worktree.checkout, model) for model in models}
    new = [model for model in models if not _is_live(worktree, model, before[model])]
    remove(work / "live")
    steps = {f"gate_{model}": _gate_step(worktree, processes, work, model, before[model], override) for model in new}
    futures = {name: submit(name, step) for name, step in steps.items()}
    futures["report"] = submit("report", report_step(processes), futures.values())
    collect(futures)
    records = {model: read_record(record_of(work, model)) for model in new}
    return [Verdict(model, before[model], records.get(model)) for model in models]


def model_summaries(work: Path, verdicts: Sequence[Verdict], released: Sequence[Release]) -> dict[str, ModelSummary]:
    """Returns by model what the run's page in Prefect shows of its verdict, release and images."""
    versions = {release.model: str(release) for release in released}
    images = {verdict.model: work / "gate" / verdict.model if verdict.record else None for verdict in verdicts}
    return {
        verdict.model: ModelSummary(
            verdict.record, str(verdict.before), versions.get(verdict.model), images[verdict.model]
        )
        for verdict in verdicts
    }


def fetch(processes: ProcessGroup, log: Log, *targets: str) -> None:
    """Checks out data of the worktree's commit from the shared cache, and pulls what is missing from the DVC remote.

    Raises UserError if neither has it.
    """
    try:
        processes.run(dvc_command("checkout", *targets), lambda line: None, FETCH_DEADLINE)
    except StageError:
        log("not all data is in the cache; pulling it from the DVC remote")
        try:
            processes.run(dvc_command("pull", *targets), log, FETCH_DEADLINE)
        except StageError as error:
            raise UserError(
                f"{' and '.join(targets)} of this commit is neither in DVC's cache nor on a DVC remote that answers; "
                "make it with `make run` and commit the changes, or name the remote that has it: `make remote URL=...`"
            ) from error


def archive_report(worktree: Worktree, work: Path, run: str) -> str | None:
    """Copies the run's report out of its worktree; returns the copy's URL, None if there is no report."""
    if not (worktree.path / REPORT).is_file():
        return None
    copy = work / "reports" / run / REPORT.name
    copy.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(worktree.path / REPORT, copy)
    base = os.environ.get(REPORTS_URL)
    return f"{base}/{run}/{REPORT.name}" if base else copy.as_uri()


def _is_live(worktree: Worktree, model: str, release: Release | None) -> bool:
    md5 = bundle_md5(worktree.path, model)
    return release is not None and md5 is not None and md5 == bundle_md5(worktree.checkout, model, release.commit)


def _gate_step(
    worktree: Worktree,
    processes: ProcessGroup,
    work: Path,
    model: str,
    before: Release | None,
    override: Override | None,
) -> Step:
    command = ["python", "-m", "tasks.gate", f"data/bundle/{model}"]
    bundle = live_bundle(work, before)
    command += ["--live", str(bundle)] if bundle else []
    command += ["--override", override.by, "--because", override.because] if override else []

    def step(log: Log) -> StageRun:
        remove(record_of(work, model))  # else an earlier record would be read when the gate dies
        if bundle and before:
            bundle.parent.mkdir(exist_ok=True)
            source = [str(worktree.checkout), f"data/bundle/{model}", "--rev", before.commit, "--out", str(bundle)]
            processes.run(dvc_command("get", *source), log, FETCH_DEADLINE)
        seconds = processes.run(command, log, GATE_DEADLINE, accepted_exit_codes=(0, REFUSED))
        if not record_of(work, model).is_file():
            raise StageError(f"the gate ended without a decision; the log of the task gate_{model} shows why")
        return StageRun(f"gate_{model}", Outcome.RAN, seconds)

    return step


def live_bundle(work: Path, release: Release | None) -> Path | None:
    """Returns the folder of the live bundle during a comparison; None without a release."""
    return work / "live" / str(release) if release else None


def record_of(work: Path, model: str) -> Path:
    """Returns the file with the gate's record of a model."""
    return work / "gate" / f"{model}.json"
