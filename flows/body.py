"""What every flow does with the DAG: one Prefect task per stage, in the order and at the pace that dvc.yaml allows."""

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from prefect import Task, flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.futures import PrefectFuture, wait
from prefect.states import Cancelled, Completed

from flows.artifacts import publish
from flows.dag import Dag, Stage, read_dag
from flows.stages import Crew, Outcome, Say, StageError, StageRun, StoppedError
from flows.summary import REPORT_COMMAND
from flows.turns import Turns

REPORT_DEADLINE = 900
RETRY_DELAY_SECONDS = 2

Future = PrefectFuture[Any]


class PipelineError(Exception):
    """Stages of a run failed; `runs` has what became of each."""

    def __init__(self, runs: Sequence[StageRun]) -> None:
        self.runs = tuple(runs)
        failed = [run.name for run in runs if run.outcome is Outcome.FAILED]
        super().__init__(f"{' and '.join(failed)} failed")


@flow(name="pipeline")
def pipeline(root: Path, report: Sequence[str] | None = REPORT_COMMAND) -> list[StageRun]:
    """Brings all stages of the DVC repository at `root` up to date, then writes the report and Prefect's artifacts.

    `report` is the command that writes report/index.html, None for no report. Whoever calls this holds the run lock.
    Returns what became of each stage. Raises PipelineError when a stage failed, and UserError when dvc.yaml's meta is
    wrong or data is missing; when it is interrupted, all its processes are stopped first.
    """
    dag, crew = read_dag(root), Crew(root)
    try:
        futures = submit_stages(dag, crew)
        if report is not None:
            futures["report"] = _report_task(crew, report).submit(wait_for=[*futures.values()], return_state=False)
        wait([*futures.values()])
    except BaseException:
        crew.stop_all()
        raise
    runs = conclude(futures)
    publish(root)
    return runs


def submit_stages(dag: Dag, crew: Crew) -> dict[str, Future]:
    """Submits a task per stage, each behind its upstreams' tasks; returns their futures by stage name."""
    turns = Turns()
    futures: dict[str, Future] = {}
    for rank, stage in enumerate(dag.stages):
        upstream = [futures[name] for name in stage.upstream]
        futures[stage.name] = _stage_task(stage, crew, turns, rank).submit(wait_for=upstream, return_state=False)
    return futures


def conclude(futures: Mapping[str, Future]) -> list[StageRun]:
    """What became of each task; raises PipelineError unless all ran or were unchanged."""
    runs = [_conclusion(name, future) for name, future in futures.items()]
    if any(run.outcome in (Outcome.FAILED, Outcome.SKIPPED) for run in runs):
        raise PipelineError(runs)
    return runs


def _conclusion(name: str, future: Future) -> StageRun:
    state = future.state
    if state.is_completed():
        run: StageRun = future.result()
        return run
    if state.is_pending():  # its upstreams failed
        return StageRun(name, Outcome.SKIPPED)
    return StageRun(name, Outcome.FAILED, reason=str(future.result(raise_on_failure=False)))


def _stage_task(stage: Stage, crew: Crew, turns: Turns, rank: int) -> Task[[], Any]:
    def run(say: Say) -> StageRun:
        with turns.turn(stage.policy.resource, rank):
            return crew.run_stage(stage, say)

    return _task(stage.name, run, stage.policy.retries)


def _report_task(crew: Crew, command: Sequence[str]) -> Task[[], Any]:
    def run(say: Say) -> StageRun:
        return StageRun("report", Outcome.RAN, crew.run(command, say, REPORT_DEADLINE))

    return _task("report", run, retries=0)


def _task(name: str, run: Callable[[Say], StageRun], retries: int) -> Task[[], Any]:
    """A Prefect task around `run` that passes its lines on and ends in a state that the UI shows as it is."""

    @task(
        name=name,
        task_run_name=name,
        retries=retries,
        retry_delay_seconds=RETRY_DELAY_SECONDS,
        retry_condition_fn=_may_help,
        cache_policy=NO_CACHE,
    )
    def body() -> State[StageRun]:
        try:
            done = run(_speaker(name))
        except StoppedError as error:
            return Cancelled(message=str(error))
        if done.outcome is Outcome.CACHED:
            return Completed(name="Cached", message="unchanged, as dvc.lock says", data=done)
        return Completed(data=done)

    return body


def _speaker(name: str) -> Say:
    """Passes a stage's lines to the terminal, under its name, and to Prefect's log."""
    logger = get_run_logger()

    def say(line: str) -> None:
        sys.stdout.write(f"{name} | {line}\n")  # in one piece, since stages speak at the same time
        sys.stdout.flush()
        logger.info(line)

    return say


def _may_help(task: Task[..., Any], task_run: TaskRun, state: State[Any]) -> bool:
    """Whether to try again: a person's mistake stays one."""
    return not (isinstance(state.data, StageError) and state.data.mistake)
