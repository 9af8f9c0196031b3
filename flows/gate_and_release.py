"""The flow `gate-and-release`: a commit that has results goes before the gate, and out."""

from pathlib import Path
from typing import Annotated, Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed
from pydantic import Field

from flows.core.dag import read_dag
from flows.core.git import git, has_branch
from flows.core.orchestration import log_to_run, run_name
from flows.core.processes import ProcessGroup
from flows.core.worktree import DATA_PIN, preflight, worktree
from flows.release.commits import release_lock
from flows.release.promote import Override, evaluator, fetch, keep_report, shown, state_of
from flows.release.publish import goes, publish
from flows.release.registry import Stage
from flows.server.guard import end_with_worker
from flows.ui.artifacts import publish as show
from flows.ui.form import Models, chosen
from flows.ui.summary import RECORD
from tasks.common.errors import UserError
from tasks.common.paths import work_folder

Revision = Annotated[str, Field(min_length=1)]


@flow(name="gate-and-release")
def gate_and_release(
    revision: Revision,
    models: Models = "both",
    override_by: str = "",
    override_because: str = "",
    stage: Stage = "live",
) -> State[Any]:
    """Judges the bundles of a commit against what is live, and releases those that pass, or that a person answers for.

    For a candidate that the gate refused, for a push that failed, and for results that somebody committed by hand.

    Args:
        revision: Branch, tag or commit whose dvc.lock has the results.
        models: What is judged and released.
        override_by: Who releases it although the gate refuses it. Empty: nobody does.
        override_because: Why that person does.
        stage: live, where the gate lets it; candidate for others to try, whatever it says.
    """
    end_with_worker()
    if bool(override_by) != bool(override_because):
        raise UserError("an override needs both, who answers for it and why; fill in both fields, or neither")
    override = Override(override_by, override_because) if override_by else None
    checkout, work, name, say = Path.cwd(), work_folder(), run_name(), log_to_run("gate-and-release")
    preflight(checkout)
    if revision == "HEAD":
        _check_committed(checkout)
    branch = revision if has_branch(checkout, revision) else None
    with worktree(checkout, work, name, revision) as place, ProcessGroup(place.path) as processes:
        say(f"commit {place.commit[:10]} in {place.path}")
        fetch(processes, say, str(DATA_PIN))
        needed = read_dag(place.path).up_to([f"bundle_{model}" for model in chosen(models)])
        fetch(processes, say, *(stage.name for stage in needed.stages))
        with release_lock(work, say):
            verdicts = evaluator(place, processes, work, chosen(models), override)
            going = any(goes(verdict, stage) for verdict in verdicts)
            released = publish(place, processes, work, verdicts, branch, name, stage) if going else []
        show(place.path, keep_report(place, work, name), shown(work, verdicts, released))
    sentences = [*(f"{release} is {stage}" for release in released), *map(str, verdicts)]
    return Completed(name="Released" if released else state_of(verdicts), message="; ".join(sentences))


def _check_committed(checkout: Path) -> None:
    """Raises UserError where the results of a run wait to be committed: what is released is the last commit's."""
    changed = git(checkout, "status", "--porcelain", "--", *RECORD)
    if changed:
        names = ", ".join(sorted(line[3:] for line in changed.splitlines()))
        raise UserError(
            f"{names} changed since the last commit, which is what would be released; commit them first, or name the "
            "commit that you mean"
        )
