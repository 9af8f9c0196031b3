"""What all flows share: a Prefect task per stage, ordered and limited as dvc.yaml says, and steps that follow them."""

import re
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
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
from flows.core.failures import Failure, failure_of, is_mistake, publish_failures
from flows.core.processes import Log, Outcome, ProcessGroup, StageRun, StoppedError
from flows.ui.artifacts import publish_artifacts
from flows.ui.progress import progress_artifacts
from flows.ui.summary import REPORT_COMMAND

REPORT_DEADLINE = 900
RETRY_DELAY_SECONDS = 2.0

Future = PrefectFuture[Any]
Step = Callable[[Log], StageRun]


class PipelineError(Exception):
    """Stages of a run failed: `runs` has the outcome of every stage, and the message says why and what to do."""

    def __init__(self, runs: Sequence[StageRun], failures: Sequence[Failure]) -> None:
        self.runs = tuple(runs)
        self.failed = [run for run in runs if run.outcome is Outcome.FAILED]
        super().__init__("\n".join(map(str, failures)))


class ResourceLock:
    """Lets one stage at a time hold a resource; of the stages that wait, the one with the lowest rank is next."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._held: set[str] = set()
        self._waiting: dict[str, set[int]] = {}

    @contextmanager
    def hold(self, resource: str | None, rank: int) -> Iterator[None]:
        """Waits for the resource and holds it during the block; None needs no waiting."""
        if resource is None:
            yield
            return
        with self._changed:
            waiting = self._waiting.setdefault(resource, set())
            waiting.add(rank)
            self._changed.wait_for(lambda: resource not in self._held and rank == min(waiting))
            waiting.discard(rank)
            self._held.add(resource)
        try:
            yield
        finally:
            with self._changed:
                self._held.discard(resource)
                self._changed.notify_all()


@flow(name="pipeline")
def pipeline(root: Path, report: Sequence[str] | None = REPORT_COMMAND) -> list[StageRun]:
    """Brings all stages of dvc.yaml up to date in a checkout, then writes the report and the artifacts of the run.

    Stages whose inputs did not change are not run. The caller holds the checkout's run lock. When a stage fails, the
    stages after it are skipped, the others finish, and PipelineError is raised. UserError is raised when a stage's
    `meta` in dvc.yaml is invalid or input data is missing. An interrupt stops all processes of the run first.

    Args:
        root: The folder with dvc.yaml.
        report: The command that writes report/index.html; None for no report.
    """
    with ProcessGroup(root) as processes:
        futures = submit_stages(read_dag(root), processes)
        if report is not None:
            futures["report"] = submit("report", report_step(processes, report), futures.values())
        runs = collect(futures)
    publish_artifacts(root)
    return runs


def submit_stages(dag: Dag, processes: ProcessGroup) -> dict[str, Future]:
    """Submits a task per stage, each after its upstream tasks; returns the futures by stage name.

    DVC is asked once which stages changed, because a `dvc repro` process per unchanged stage takes most of a second.
    """
    resources, cached = ResourceLock(), unchanged(processes.root, dag)
    futures: dict[str, Future] = {}
    for rank, stage in enumerate(dag.stages):

        def run(log: Log, stage: Stage = stage, rank: int = rank) -> StageRun:
            if stage.name in cached:
                log("unchanged")
                return StageRun(stage.name, Outcome.CACHED)
            with resources.hold(stage.policy.resource, rank), progress_artifacts(stage.name) as environment:
                return processes.run_stage(stage, log, environment)

        upstream = [futures[name] for name in stage.upstream]
        futures[stage.name] = submit(stage.name, run, upstream, stage.policy.retries)
    return futures


def report_step(processes: ProcessGroup, command: Sequence[str] = REPORT_COMMAND) -> Step:
    """Returns the step that writes the report."""
    return lambda log: StageRun("report", Outcome.RAN, processes.run(command, log, REPORT_DEADLINE))


def submit(
    name: str, step: Step, upstream: Iterable[Future] = (), retries: int = 0, delay: float = RETRY_DELAY_SECONDS
) -> Future:
    """Submits a task that runs a step once all `upstream` tasks have completed.

    A failed step is retried up to `retries` times, each time after `delay` seconds. The task logs the step's lines.
    """
    retry: Any = {"retries": retries, "retry_delay_seconds": delay, "retry_condition_fn": _is_retryable}

    @task(name=name, task_run_name=name, cache_policy=NO_CACHE, **retry)
    def body() -> State[StageRun]:
        try:
            done = step(run_log(name))
        except StoppedError as error:
            return Cancelled(message=str(error))
        if done.outcome is Outcome.CACHED:
            return Completed(name="Cached", message="unchanged since dvc.lock was written", data=done)
        return Completed(data=done)

    future: Future = body.submit(wait_for=[*upstream], return_state=False)
    return future


def collect(futures: Mapping[str, Future]) -> list[StageRun]:
    """Waits for all tasks; returns their outcomes.

    Raises PipelineError, and creates the artifact `failure`, unless all of them ran or were unchanged.
    """
    wait([*futures.values()])
    runs = [_stage_run(name, future) for name, future in futures.items()]
    if any(run.outcome in (Outcome.FAILED, Outcome.SKIPPED) for run in runs):
        failed = (run.name for run in runs if run.outcome is Outcome.FAILED)
        failures = [failure_of(name, futures[name].result(raise_on_failure=False)) for name in failed]
        publish_failures(failures)
        raise PipelineError(runs, failures)
    return runs


def run_log(name: str) -> Log:
    """Returns a function that writes a line to the terminal, after `name`, and to the log of the Prefect run."""
    logger = get_run_logger()

    def log(line: str) -> None:
        sys.stdout.write(f"{name} | {line}\n")  # in one piece, because stages write at the same time
        sys.stdout.flush()
        logger.info(line)

    return log


def run_name() -> str:
    """Returns a name for the branch and folder of the current Prefect run, for example 2026-11-26-brisk-otter.

    A retry of the run gets another name.
    """
    words = re.sub(r"[^a-z0-9]+", "-", str(flow_run.name).lower()).strip("-")
    retry = f"-{flow_run.run_count}" if (flow_run.run_count or 1) > 1 else ""
    return f"{datetime.now(UTC):%Y-%m-%d}-{words}{retry}"


def _stage_run(name: str, future: Future) -> StageRun:
    state = future.state
    if state.is_completed():
        run: StageRun = future.result()
        return run
    if state.is_pending():  # an upstream task failed
        return StageRun(name, Outcome.SKIPPED)
    return StageRun(name, Outcome.FAILED, reason=str(future.result(raise_on_failure=False)))


def _is_retryable(task: Task[..., Any], task_run: TaskRun, state: State[Any]) -> bool:
    return not is_mistake(state.data)
