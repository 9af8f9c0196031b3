"""What every flow does: one Prefect task per stage, in the order and at the pace that dvc.yaml allows, and steps of its
own behind them.
"""

import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from prefect import Task, flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.futures import PrefectFuture, wait
from prefect.runtime import flow_run
from prefect.states import Cancelled, Completed

from flows.core.dag import Dag, Stage, read_dag, unchanged
from flows.core.failures import Failure, failure_of, failures_text, publish_failures
from flows.core.processes import Log, Outcome, ProcessGroup, StageError, StageRun, StoppedError
from flows.core.resource_lock import ResourceLock
from flows.ui.artifacts import publish
from flows.ui.progress import watching
from flows.ui.summary import REPORT_COMMAND
from tasks.common.errors import UserError

REPORT_DEADLINE = 900
RETRY_DELAY_SECONDS = 2.0

Future = PrefectFuture[Any]
Step = Callable[[Log], StageRun]


class PipelineError(Exception):
    """Stages of a run failed; `runs` has what became of each, the message why and what to do."""

    def __init__(self, runs: Sequence[StageRun], failures: Sequence[Failure]) -> None:
        self.runs = tuple(runs)
        self.failed = [run for run in runs if run.outcome is Outcome.FAILED]
        super().__init__(failures_text(failures))


@flow(name="pipeline")
def pipeline(root: Path, report: Sequence[str] | None = REPORT_COMMAND) -> list[StageRun]:
    """Brings all stages of the DVC repository at `root` up to date, then writes the report and Prefect's artifacts.

    `report` is the command that writes report/index.html, None for no report. Whoever calls this holds the run lock.
    Returns what became of each stage. Raises PipelineError when a stage failed, and UserError when dvc.yaml's meta is
    wrong or data is missing; when it is interrupted, all its processes are stopped first.
    """
    with ProcessGroup(root) as processes:
        futures = submit_stages(read_dag(root), processes)
        if report is not None:
            futures["report"] = submit("report", report_step(processes, report), futures.values())
        runs = conclude(futures)
    publish(root)
    return runs


def submit_stages(dag: Dag, processes: ProcessGroup) -> dict[str, Future]:
    """Submits a task per stage, each behind its upstreams' tasks; returns their futures by stage name.

    DVC is asked once for all of them what changed, since a process of its own for each takes most of a second.
    """
    resources, standing = ResourceLock(), unchanged(processes.root, dag)
    futures: dict[str, Future] = {}
    for rank, stage in enumerate(dag.stages):

        def run(say: Log, stage: Stage = stage, rank: int = rank) -> StageRun:
            if stage.name in standing:
                say("unchanged")
                return StageRun(stage.name, Outcome.CACHED)
            with resources.turn(stage.policy.resource, rank), watching(stage.name) as environment:
                return processes.run_stage(stage, say, environment)

        upstream = [futures[name] for name in stage.upstream]
        futures[stage.name] = submit(stage.name, run, upstream, stage.policy.retries)
    return futures


def report_step(processes: ProcessGroup, command: Sequence[str] = REPORT_COMMAND) -> Step:
    """Writes the report."""
    return lambda say: StageRun("report", Outcome.RAN, processes.run(command, say, REPORT_DEADLINE))


def submit(
    name: str, step: Step, after: Iterable[Future] = (), retries: int = 0, delay: float = RETRY_DELAY_SECONDS
) -> Future:
    """Submits a task that does a step once all of `after` have ended well; tries again `delay` seconds after a failure.

    The task passes the step's lines on and ends in a state that the UI shows as it is.
    """

    @task(
        name=name,
        task_run_name=name,
        retries=retries,
        retry_delay_seconds=delay,
        retry_condition_fn=_may_help,
        cache_policy=NO_CACHE,
    )
    def body() -> State[StageRun]:
        try:
            done = step(log_to_run(name))
        except StoppedError as error:
            return Cancelled(message=str(error))
        if done.outcome is Outcome.CACHED:
            return Completed(name="Cached", message="unchanged, as dvc.lock says", data=done)
        return Completed(data=done)

    future: Future = body.submit(wait_for=[*after], return_state=False)
    return future


def conclude(futures: Mapping[str, Future]) -> list[StageRun]:
    """Waits for all tasks; returns what became of each.

    Raises PipelineError unless all ran or were unchanged, and makes the artifact `failure` then.
    """
    wait([*futures.values()])
    runs = [_conclusion(name, future) for name, future in futures.items()]
    if any(run.outcome in (Outcome.FAILED, Outcome.SKIPPED) for run in runs):
        failed = [run.name for run in runs if run.outcome is Outcome.FAILED]
        failures = [failure_of(name, futures[name].result(raise_on_failure=False)) for name in failed]
        publish_failures(failures)
        raise PipelineError(runs, failures)
    return runs


def log_to_run(name: str) -> Log:
    """Passes lines to the terminal, under a name, and to the log of the Prefect run that this is called in."""
    logger = get_run_logger()

    def say(line: str) -> None:
        sys.stdout.write(f"{name} | {line}\n")  # in one piece, since stages speak at the same time
        sys.stdout.flush()
        logger.info(line)

    return say


def run_name() -> str:
    """A name for branch and folder of the Prefect run that this is called in, as 2026-11-26-brisk-otter.

    A run that is tried again gets another.
    """
    words = re.sub(r"[^a-z0-9]+", "-", str(flow_run.name).lower()).strip("-")
    again = f"-{flow_run.run_count}" if (flow_run.run_count or 1) > 1 else ""
    return f"{datetime.now(UTC):%Y-%m-%d}-{words}{again}"


def _conclusion(name: str, future: Future) -> StageRun:
    state = future.state
    if state.is_completed():
        run: StageRun = future.result()
        return run
    if state.is_pending():  # its upstreams failed
        return StageRun(name, Outcome.SKIPPED)
    return StageRun(name, Outcome.FAILED, reason=str(future.result(raise_on_failure=False)))


def _may_help(task: Task[..., Any], task_run: TaskRun, state: State[Any]) -> bool:
    """Whether to try again: a person's mistake stays one."""
    error = state.data
    return not (isinstance(error, UserError) or (isinstance(error, StageError) and error.mistake))
