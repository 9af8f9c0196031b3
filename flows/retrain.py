"""The flow `retrain`: the DAG in a worktree of its own, the gate, and a release, or the reasons why there is none."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed

from flows.core.dag import fingerprint, read_dag
from flows.core.git import has_branch
from flows.core.orchestration import PipelineError, conclude, log_to_run, run_name, submit_stages
from flows.core.processes import ProcessGroup
from flows.core.worktree import DATA_PIN, Worktree, preflight, take_newest_data, worktree
from flows.release.commits import commit_results, release_lock
from flows.release.conclusions import Conclusion, live_now, read_conclusion, write_conclusion
from flows.release.promote import Verdict, evaluator, fetch, keep_report, shown, state_of
from flows.release.publish import publish
from flows.release.registry import Release
from flows.server.guard import end_with_worker
from flows.ui.artifacts import publish as show
from flows.ui.form import COMMITTED, Models, Overrides, Preset, chosen, write_params
from tasks.common.errors import UserError
from tasks.common.paths import work_folder


@flow(name="retrain")
def retrain(preset: Preset = COMMITTED, models: Models = "both", overrides: Overrides = Overrides()) -> State[Any]:  # noqa: B008
    """Trains on the newest data with the committed code, and releases what the gate blesses.

    Runs in a git worktree of the checkout's last commit, so nobody's files are touched, and ends as a commit on the
    branch retrain/RUN. Where commit, parameters and data are those of an earlier run, and what is live is what that run
    left live, nothing is done. A model that the gate refuses stays on its branch: the flow gate-and-release can still
    release it, on a person's word.

    Args:
        preset: Values that are laid over the committed params.yaml before the overrides.
        models: What is trained, judged and released.
        overrides: Values that rule over the preset's and the committed ones; what is left empty stays as it is.
    """
    end_with_worker()
    checkout, work, name, say = Path.cwd(), work_folder(), run_name(), log_to_run("retrain")
    preflight(checkout)
    if has_branch(checkout, branch := f"retrain/{name}"):
        raise UserError(f"there is a branch {branch} already; rename it with `git branch -m`, or rename this run")
    with worktree(checkout, work, name) as place, ProcessGroup(place.path) as processes:
        take_newest_data(place)
        changes = write_params(place.path, preset, overrides)
        for line in (f"commit {place.commit[:10]} in {place.path}", *changes):
            say(line)
        fetch(processes, say, str(DATA_PIN))
        dag = read_dag(place.path).up_to([f"bundle_{model}" for model in chosen(models)])
        key = fingerprint(place.path, dag)
        if past := read_conclusion(work, key, live_now(checkout, chosen(models))):
            return Completed(name="Nothing new", message=f"nothing new since {past.run}: {past.message}")
        conclude(submit_stages(dag, processes))
        with release_lock(work, say):
            verdicts = evaluator(place, processes, work, chosen(models))
            conclusion = _promote(place, processes, work, name, branch, verdicts)
            write_conclusion(work, key, conclusion)
        return Completed(name=conclusion.name, message=conclusion.message)


def _promote(
    place: Worktree, processes: ProcessGroup, work: Path, name: str, branch: str, verdicts: Sequence[Verdict]
) -> Conclusion:
    """Commits what was made, publishes what passed, and says so in Prefect."""
    sentences = [str(verdict) for verdict in verdicts]
    subject = "Retrain: " + ", ".join(f"{verdict.model} {verdict.word}" for verdict in verdicts)
    commit = commit_results(place.path, branch, subject, "\n\n".join([*sentences, f"Run: {name}"]))
    released: list[Release] = []
    try:
        if any(verdict.passed for verdict in verdicts):
            released = publish(place, processes, work, verdicts, branch, name)
    except PipelineError as error:
        raise UserError(
            f"{error}. What was made is kept on the branch {branch}: once that is mended, run the deployment "
            "gate-and-release with this branch as the revision"
        ) from None
    finally:
        show(place.path, keep_report(place, work, name), shown(work, verdicts, released))
    message = "; ".join([*(f"{release} is live" for release in released), *sentences])
    left = live_now(place.checkout, tuple(verdict.model for verdict in verdicts))
    return Conclusion(name=state_of(verdicts), message=message, run=name, branch=branch, commit=commit, live=left)
