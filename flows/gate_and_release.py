"""The flow `gate-and-release`: runs the gate on the results of a commit and releases the models that pass."""

from pathlib import Path
from typing import Annotated, Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed
from pydantic import Field

from flows.core.dag import read_dag
from flows.core.git import git, has_branch
from flows.core.orchestration import run_log, run_name
from flows.core.processes import ProcessGroup
from flows.core.worktree import DATA_PIN, open_worktree, preflight
from flows.release.commits import release_lock
from flows.release.promote import fetch, publish_results, run_gate, state_name
from flows.release.publish import publish, qualifies
from flows.release.registry import Stage
from flows.server.guard import end_with_worker
from flows.ui.form import Models, selected
from flows.ui.summary import RECORD
from tasks.common.errors import UserError
from tasks.common.paths import work_folder
from tasks.gate.record import Override


@flow(name="gate-and-release")
def gate_and_release(
    revision: Annotated[str, Field(min_length=1)],
    models: Models = "all",
    override_by: str = "",
    override_because: str = "",
    stage: Stage = "live",
) -> State[Any]:
    """Compares the bundles of a commit with the live versions, and releases those that the gate passes.

    Nothing is trained: DVC fetches the commit's bundles from its cache or remote. Use this flow for

    - a model that the gate refused in `retrain` and that should be released all the same: fill in both override fields,
    - results that `retrain` could not push or tag,
    - results that you made with `make run` and committed yourself,
    - a release candidate for others to test: choose the stage candidate.

    The run ends as Released, as Rejected if no model passed, or as Nothing new if the models are live already.

    Args:
        revision: The branch, tag or commit whose dvc.lock has the results, for example retrain/2026-11-26-brisk-otter.
        models: The models to evaluate and release.
        override_by: Your name, if you release a model although the gate refuses it. Empty: the gate decides.
        override_because: Your reason. Name and reason are recorded in the release's lineage.
        stage: live: a model that passes replaces the live version. candidate: every model that the gate compares is
            tagged for others to test, whatever the decision, and the live version stays.
    """
    end_with_worker()
    if bool(override_by) != bool(override_because):
        raise UserError("an override needs both a name and a reason; fill in both override fields, or neither")
    override = Override(by=override_by, because=override_because) if override_by else None
    checkout, work, log = Path.cwd(), work_folder(), run_log("gate-and-release")
    preflight(checkout)
    if revision == "HEAD":
        _check_committed(checkout)
    branch = revision if has_branch(checkout, revision) else None
    with open_worktree(checkout, work, run_name(), revision) as worktree, ProcessGroup(worktree.path) as processes:
        log(f"commit {worktree.commit[:10]} in {worktree.path}")
        fetch(processes, log, str(DATA_PIN))
        dag = read_dag(worktree.path).up_to([f"bundle_{model}" for model in selected(models)])
        fetch(processes, log, *(stage.name for stage in dag.stages))
        with release_lock(work, log):
            verdicts = run_gate(worktree, processes, selected(models), override)
            qualified = any(qualifies(verdict, stage) for verdict in verdicts)
            released = publish(worktree, processes, verdicts, branch, stage) if qualified else []
        publish_results(worktree, verdicts, released)
    sentences = [*(f"{release} is {stage}" for release in released), *map(str, verdicts)]
    return Completed(name="Released" if released else state_name(verdicts), message="; ".join(sentences))


def _check_committed(checkout: Path) -> None:
    """Raises UserError if results are not committed, because the release would be that of the last commit."""
    if changed := git(checkout, "status", "--porcelain", "--", *RECORD):
        names = ", ".join(sorted(line[3:] for line in changed.splitlines()))
        raise UserError(
            f"{names} changed since the last commit, so these results would not be released; commit them first, or "
            "name a commit instead of HEAD"
        )
