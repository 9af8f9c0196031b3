"""The flow `retrain`: trains, evaluates and exports in a worktree, runs the gate, and releases the models that pass."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed
from pydantic import BaseModel, ConfigDict, ValidationError

from flows.core.dag import fingerprint, read_dag
from flows.core.git import has_branch
from flows.core.orchestration import PipelineError, collect, run_log, run_name, submit_stages
from flows.core.processes import ProcessGroup
from flows.core.worktree import DATA_PIN, Worktree, open_worktree, preflight, use_newest_data
from flows.release.commits import commit_results, release_lock
from flows.release.promote import StateName, Verdict, fetch, publish_results, run_gate, state_name
from flows.release.publish import publish
from flows.release.registry import Release, live
from flows.server.guard import end_with_worker
from flows.ui.form import COMMITTED, Models, Overrides, Preset, selected, write_params
from tasks.common.errors import UserError
from tasks.common.files import write_json
from tasks.common.paths import work_folder

Live = dict[str, str | None]  # by model: the live release and its commit, None if there is none


class Conclusion(BaseModel):
    """How a run ended: its state's name and message in Prefect, the branch with its results, and what was live then.

    The same inputs need no second run, as long as the live versions are those that the earlier run left.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: StateName
    message: str
    run: str
    branch: str
    commit: str
    live: Live


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
        file = work / "conclusions" / f"{fingerprint(worktree.path, dag)}.json"
        if past := _read_conclusion(file, _live_now(checkout, selected(models))):
            return Completed(name="Nothing new", message=f"nothing new since {past.run}: {past.message}")
        collect(submit_stages(dag, processes))
        with release_lock(work, log):
            verdicts = run_gate(worktree, processes, selected(models))
            conclusion = _release(worktree, processes, branch, verdicts)
            write_json(file, conclusion.model_dump(mode="json"))
        return Completed(name=conclusion.name, message=conclusion.message)


def _live_now(checkout: Path, models: Sequence[str]) -> Live:
    found = {model: live(checkout, model) for model in models}
    return {model: f"{release} {release.commit}" if release else None for model, release in found.items()}


def _read_conclusion(file: Path, now: Live) -> Conclusion | None:
    """Returns the conclusion of the last run with these inputs; None if there is none or other versions are live now.

    The gate's decisions depend on what is live. A file that is damaged, or that earlier code wrote, counts as none: the
    run that follows replaces it.
    """
    try:
        past = Conclusion.model_validate_json(file.read_bytes())
    except (FileNotFoundError, ValidationError):
        return None
    return past if past.live == now else None


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
    name, now = state_name(verdicts), _live_now(worktree.checkout, [verdict.model for verdict in verdicts])
    return Conclusion(name=name, message=message, run=worktree.name, branch=branch, commit=commit, live=now)
