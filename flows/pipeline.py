"""`make run`, or `python -m flows.pipeline`: brings everything up to date in this checkout, recorded by Prefect.

Prefect is imported late: it reads its settings on import, its server starts meanwhile, and a person's mistake is
answered before either. Exit codes: 0 when all is up to date, 1 when a stage failed, 2 for a person's mistake, 130 for
Ctrl-C and 143 for SIGTERM.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from flows.core.dag import clear_stale_locks, read_dag
from flows.core.processes import Outcome, StageRun
from flows.core.terminal import catch_signals, run_lock
from flows.server.temporary import recorded
from flows.ui.summary import REPORT_COMMAND, columns, results_text
from tasks.common.cli import run


def main(report: Sequence[str] | None = REPORT_COMMAND) -> None:
    """Runs the flow `pipeline` in the current folder and says what came of it; `report` as for the flow."""
    catch_signals()
    root = Path.cwd()
    with run_lock():
        clear_stale_locks(root)
        read_dag(root)  # finds mistakes before anything is started
        runs = _run_flow(root, report)
        print(f"\n{runs_text(runs)}\n\n{results_text(root)}", flush=True)


def runs_text(runs: Sequence[StageRun]) -> str:
    """A line per stage: what became of it and the seconds it took; below, why those failed that did."""
    rows = [(run.name, run.outcome.value, f"{run.seconds:.1f} s" if run.seconds else "") for run in runs]
    reasons = [f"\n{run.name} failed: {run.reason}" for run in runs if run.outcome is Outcome.FAILED]
    return "\n".join([columns(rows), *reasons])


def _run_flow(root: Path, report: Sequence[str] | None) -> Sequence[StageRun]:
    with recorded(root):
        from flows.core.orchestration import PipelineError, pipeline
    try:
        return pipeline(root, report)
    except PipelineError as error:
        names = " and ".join(run.name for run in error.failed)
        print(
            f"\n{runs_text(error.runs)}\n\nerror: {names} failed; finished stages are kept, run this again", flush=True
        )
        sys.exit(1)


if __name__ == "__main__":
    run(main)
