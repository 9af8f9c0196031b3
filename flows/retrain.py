"""The flow `retrain`: trains, evaluates and exports in a worktree, runs the gate, and releases the models that pass."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed

from flows.core.dag import fingerprint, read_dag
from flows.core.git import has_branch
from flows.core.orchestration import PipelineError, collect, run_log, run_name, submit_stages
from flows.core.processes import ProcessGroup
from flows.core.worktree import DATA_PIN, Worktree, open_worktree, preflight, use_newest_data
from flows.release.commits import commit_results, release_lock
from flows.release.conclusions import Conclusion, live_now, read_conclusion, write_conclusion
from flows.release.promote import Verdict, fetch, publish_results, run_gate, state_name
from flows.release.publish import publish
from flows.release.registry import Release
from flows.server.guard import end_with_worker
from flows.ui.form import COMMITTED, Models, Overrides, Preset, selected, write_params
from tasks.common.errors import UserError
from tasks.common.paths import work_folder


@flow(name="retrain")
def retrain(preset: Preset = COMMITTED, models: Models = "all", overrides: Overrides = Overrides()) -> State[Any]:  # noqa: B008
    """Trains the models on the newest data, compares them with the live versions and releases those that pass the gate.

    The run uses the code of the checkout's last commit, in a git worktree of its own, so it changes no file in the
    checkout. The data is what the last ingest pinned in data/raw.dvc, committed or not. Stages whose inputs did not
    change come from DVC's cache.

    The results become a commit on the branch retrain/RUN. The run ends in one of these states:

    - Released: at least one model passed the gate. It is tagged, for example gan@v1.2.0, and live.
    - Rejected: no model passed; the artifact `verdict` has the reasons. The branch keeps the results, and the flow
      gate-and-release can still release them if a person takes the responsibility.
    - Nothing new: the results are already live. The run trains nothing if an earlier run with the same commit,
      parameters and data left the versions that are live now.
    - Failed: the message says what failed, why, and what to do; for a stage, so does the artifact `failure`.

    Args:
        preset: Values from presets/ that replace those of the committed params.yaml.
        models: The models to train, evaluate and release.
        overrides: Single parameters; they take precedence over the preset and params.yaml. Empty fields change nothing.
    """
    end_with_worker()
    checkout, work, run, log = Path.cwd(), work_folder(), run_name(), run_log("retrain")
    preflight(checkout)
    if has_branch(checkout, branch := f"retrain/{run}"):
        raise UserError(f"the branch {branch} exists already; rename it with `git branch -m`, or rename this run")
    with open_worktree(checkout, work, run) as worktree, ProcessGroup(worktree.path) as processes:
        use_newest_data(worktree)
        changes = write_params(worktree.path, preset, overrides)
        for line in (f"commit {worktree.commit[:10]} in {worktree.path}", *changes):
            log(line)
        fetch(processes, log, str(DATA_PIN))
        dag = read_dag(worktree.path).up_to([f"bundle_{model}" for model in selected(models)])
        key = fingerprint(worktree.path, dag)
        if past := read_conclusion(work, key, live_now(checkout, selected(models))):
            return Completed(name="Nothing new", message=f"nothing new since {past.run}: {past.message}")
        collect(submit_stages(dag, processes))
        with release_lock(work, log):
            verdicts = run_gate(worktree, processes, selected(models))
            conclusion = _release(worktree, processes, branch, verdicts)
            write_conclusion(work, key, conclusion)
        return Completed(name=conclusion.name, message=conclusion.message)


def _release(worktree: Worktree, processes: ProcessGroup, branch: str, verdicts: Sequence[Verdict]) -> Conclusion:
    """Commits the results, publishes the models that passed, and creates the run's artifacts in Prefect."""
    sentences = [str(verdict) for verdict in verdicts]
    subject = "Retrain: " + ", ".join(f"{verdict.model} {verdict.decision}" for verdict in verdicts)
    commit = commit_results(worktree.path, branch, subject, "\n\n".join([*sentences, f"Run: {worktree.name}"]))
    released: list[Release] = []
    try:
        if any(verdict.passed for verdict in verdicts):
            released = publish(worktree, processes, verdicts, branch)
    except PipelineError as error:
        raise UserError(
            f"{error}. The results are kept on the branch {branch}: correct the problem, then run the deployment "
            "gate-and-release with this branch as the revision"
        ) from None
    finally:
        publish_results(worktree, verdicts, released)
    message = "; ".join([*(f"{release} is live" for release in released), *sentences])
    live = live_now(worktree.checkout, tuple(verdict.model for verdict in verdicts))
    name = state_name(verdicts)
    return Conclusion(name=name, message=message, run=worktree.name, branch=branch, commit=commit, live=live)
