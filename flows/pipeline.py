"""`imagewright run`, or `make run`: brings all stages in this checkout up to date, as a Prefect run.

Prefect is imported late: it reads its settings on import, its server starts during the import, and errors of the user
are reported before both. Exit codes: 0 if everything is up to date, 1 if a stage failed, 2 for an error of the user,
130 for Ctrl-C and 143 for SIGTERM.
"""

import argparse
import subprocess
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
    """Runs the flow `pipeline` in the current folder and prints the results; `report` is passed to the flow."""
    catch_signals()
    root = Path.cwd()
    with run_lock():
        clear_stale_locks(root)
        read_dag(root)  # raises for mistakes before anything is started
        with recorded(root):
            from flows.core.orchestration import PipelineError, pipeline
        try:
            runs = pipeline(root, report)
        except PipelineError as error:
            names = " and ".join(run.name for run in error.failed)
            print(f"\n{runs_text(error.runs)}\n\nerror: {names} failed; finished stages are kept, run this again")
            sys.exit(1)
        print(f"\n{runs_text(runs)}\n\n{results_text(root)}", flush=True)


def runs_text(runs: Sequence[StageRun]) -> str:
    """Returns a line per stage with its outcome and seconds, then the reasons of failures."""
    rows = [(run.name, run.outcome.value, f"{run.seconds:.1f} s" if run.seconds else "") for run in runs]
    reasons = [f"\n{run.name} failed: {run.reason}" for run in runs if run.outcome is Outcome.FAILED]
    return "\n".join([columns(rows), *reasons])


def _ingest() -> None:
    """Parses the command line, then writes the preset that it names and ingests the data, in a process each."""
    parser = argparse.ArgumentParser(description="Ingests images and runs the pipeline as a Prefect flow.")
    source = "fashion-mnist, digits, or a folder, zip or tar of images; default: what data/raw.dvc pins"
    parser.add_argument("source", nargs="?", metavar="DATA", help=source)
    parser.add_argument("--preset", help="quick, classic or full: written into params.yaml first")
    parser.add_argument("--force", action="store_true", help="let the preset overwrite values set by hand")
    given = parser.parse_args()
    preset = ["tasks.common.presets", given.preset, *(["--force"] if given.force else [])]
    ingest = ["tasks.ingest", *([given.source] if given.source else [])]
    for command in [preset, ingest] if given.preset else [ingest]:
        if code := subprocess.run([sys.executable, "-m", *command], check=False).returncode:
            sys.exit(code)


if __name__ == "__main__":
    run(_ingest)
    run(main)
