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
from flows.ui.artifacts import ModelSummary, publish_artifacts
from flows.ui.summary import REPORT
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
    worktree: Worktree, processes: ProcessGroup, models: Sequence[str], override: Override | None = None
) -> list[Verdict]:
    """Runs the gate on the worktree's bundles, then writes the report, as tasks of the Prefect run.

    Raises PipelineError when a task fails; a refusal is no failure.
    """
    before = {model: live(worktree.checkout, model) for model in models}
    new = [model for model in models if not _is_live(worktree, model, before[model])]
    remove(worktree.work / "live")
    steps = {f"gate_{model}": _gate_step(worktree, processes, model, before[model], override) for model in new}
    futures = {name: submit(name, step) for name, step in steps.items()}
    futures["report"] = submit("report", report_step(processes), futures.values())
    collect(futures)
    records = {model: read_record(record_of(worktree, model)) for model in new}
    return [Verdict(model, before[model], records.get(model)) for model in models]


def publish_results(worktree: Worktree, verdicts: Sequence[Verdict], released: Sequence[Release]) -> None:
    """Copies the report out of the worktree, and creates the run's artifacts in Prefect."""
    versions = {release.model: str(release) for release in released}
    summaries = {}
    for verdict in verdicts:
        pictures = record_of(worktree, verdict.model).with_suffix("") if verdict.record else None
        released_as = versions.get(verdict.model)
        summaries[verdict.model] = ModelSummary(verdict.record, str(verdict.before), released_as, pictures)
    report_url = None
    if (worktree.path / REPORT).is_file():
        copy = worktree.work / "reports" / worktree.name / REPORT.name
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(worktree.path / REPORT, copy)
        base = os.environ.get(REPORTS_URL)
        report_url = f"{base}/{worktree.name}/{REPORT.name}" if base else copy.as_uri()
    publish_artifacts(worktree.path, report_url, summaries)


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


def _is_live(worktree: Worktree, model: str, release: Release | None) -> bool:
    md5 = bundle_md5(worktree.path, model)
    return release is not None and md5 is not None and md5 == bundle_md5(worktree.checkout, model, release.commit)


def _gate_step(
    worktree: Worktree, processes: ProcessGroup, model: str, before: Release | None, override: Override | None
) -> Step:
    command = ["python", "-m", "tasks.gate", f"data/bundle/{model}"]
    bundle = live_bundle(worktree, before)
    command += ["--live", str(bundle)] if bundle else []
    command += ["--override", override.by, "--because", override.because] if override else []

    def step(log: Log) -> StageRun:
        remove(record_of(worktree, model))  # else an earlier record would be read when the gate dies
        if bundle and before:
            bundle.parent.mkdir(exist_ok=True)
            source = [str(worktree.checkout), f"data/bundle/{model}", "--rev", before.commit, "--out", str(bundle)]
            processes.run(dvc_command("get", *source), log, FETCH_DEADLINE)
        seconds = processes.run(command, log, GATE_DEADLINE, accepted_exit_codes=(0, REFUSED))
        if not record_of(worktree, model).is_file():
            raise StageError(f"the gate ended without a decision; the log of the task gate_{model} shows why")
        return StageRun(f"gate_{model}", Outcome.RAN, seconds)

    return step


def live_bundle(worktree: Worktree, release: Release | None) -> Path | None:
    """Returns the folder of the live bundle during a comparison; None without a release."""
    return worktree.work / "live" / str(release) if release else None


def record_of(worktree: Worktree, model: str) -> Path:
    """Returns the file with the gate's record of a model."""
    return worktree.work / "gate" / f"{model}.json"
