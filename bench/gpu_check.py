"""Checks whether the project works on a GPU, and how fast: `make gpu-check` or `python bench/gpu_check.py [--long]`.

For anybody who has an NVIDIA GPU. It takes eight minutes, or thirty with `--long`, and prints and keeps each row as
soon as it is measured: the tests marked `gpu`; every kind of learner, captured against eager, with either loader; the
prefetching loader under load; the speed of training compared with the published loop, with kernels per step and the
share of the matrix-product rate; ONNX Runtime; and real stages, with equal bits where `deterministic` is on, an
evaluation of 50,000 images, and `full`, cut to a tenth, compared with `classic`. Each check is a process of its own, so
that a failed one does not stop the others. At the end it prints again which requirements are not met, with a likely
cause; the results go to bench/results and RESULTS.md. Exit code 1 when a requirement is not met or a check failed.

It needs no DVC, Prefect, git or network: PyTorch with CUDA, pydantic, ruamel.yaml, psutil and pytest are enough, so it
can be copied to a bare machine as this folder with a few wheels. It uses data/raw where that holds Fashion-MNIST, else
scikit-learn's digits. Without a GPU the same program runs on the CPU at the smallest sizes and measures nothing.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from argparse import SUPPRESS, Namespace
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from pathlib import Path

from arguments import parse, parser

NEEDED = (
    "torch",
    "pydantic",
    "ruamel.yaml",
    "psutil",
    "pytest",
    "onnx",
    "onnxruntime",
    "onnxscript",
    "sklearn",
    "tqdm",
)
if missing := [name for name in NEEDED if find_spec(name.partition(".")[0]) is None]:
    sys.exit(f"error: {' and '.join(missing)} cannot be imported; install them, or put their wheels on PYTHONPATH")

from rows import Row, publish  # noqa: E402 - after what says in a sentence that something is missing

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
SHORT, LONG = 480.0, 1800.0  # seconds of all checks together


@dataclass(frozen=True)
class Check:
    """A function of gpu_checks.py, a title, its share of the time, and likely causes of an unmet requirement."""

    name: str
    title: str
    share: float
    causes: str


CHECKS = (
    Check("captured_steps", "captured steps against eager ones", 0.20, "an operation that waits for the device, or a "
          "number kept in the graph: models/training/steps.py names the first cause where a capture fails"),
    Check("marked_tests", "the tests marked gpu", 0.22, "the test's own message, above"),
    Check("prefetched_loader", "the prefetching loader under load", 0.06, "a missing wait for an event or a stream: "
          "models/training/loaders.py"),
    Check("speeds", "the speed of training", 0.35, "other processes on the GPU, its power limit or clocks "
          "(nvidia-smi -q -d PERFORMANCE); many kernels of few microseconds a step; few CPU cores for the peer"),
    Check("onnx_runtime", "ONNX Runtime", 0.25, "an onnxruntime-gpu that fits the installed CUDA and cuDNN"),
    Check("stages", "real stages: repetition, evaluation, recipes", 0.65, "for speed: a busy GPU; for bits: an "
          "operation without a deterministic kernel, which PyTorch names; for distances: --long, which trains longer"),
)  # fmt: skip


def main() -> int:
    """Runs the checks, keeps their rows, and prints which requirements are not met."""
    made = parser(__doc__)
    made.add_argument("--long", action="store_true", help="thirty minutes instead of eight")
    made.add_argument("--only", choices=[check.name for check in CHECKS], help="run only this check")
    made.add_argument("--rows", type=Path, help=SUPPRESS)  # of the process that runs one check
    given = parse(made)
    if given.rows:
        return run(given)
    gpu = gpu_name()
    where = gpu or "no NVIDIA GPU here: the same program runs on the CPU at the smallest sizes and measures nothing"
    print(where, flush=True)
    start = time.monotonic()
    ends = start + (LONG if given.long else SHORT)
    rows, failed = list[Row](), list[str]()
    for check in (one for one in CHECKS if given.only in (None, one.name)):
        found, error_text = checked(check, given, ends)
        rows += found if gpu else [replace(row, value=None, reached=None) for row in found if row.required]
        failed += [error_text] if error_text else []
        if gpu and not given.tiny and not given.only:  # a single check would replace the results of the others
            keep(rows, time.monotonic() - start, given)
    publish(rows, given.json)
    summarise(rows, failed, gpu)
    return 1 if failed or any(row.reached is False for row in rows) else 0


def gpu_name() -> str | None:
    """Returns the GPU's name, or None where there is no GPU."""
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else None


def checked(check: Check, given: Namespace, ends: float) -> tuple[list[Row], str]:
    """Runs one check as a process; returns the rows that it wrote, and an error message where it did not finish."""
    print(f"\n{check.title}", flush=True)
    total = LONG if given.long else SHORT
    seconds = min(check.share * total, ends - time.monotonic())
    with tempfile.TemporaryDirectory() as place:
        file = Path(place) / "rows"
        file.touch()
        command = [sys.executable, __file__, "--only", check.name, "--rows", str(file)]
        command += [*["--long"] * given.long, *["--tiny"] * given.tiny]
        process = subprocess.Popen(command, cwd=ROOT, start_new_session=True)
        try:
            code = process.wait(timeout=max(seconds, 1.0))
            error_text = f"{check.title}: failed with exit code {code}" if code else ""
        except BaseException as error:
            os.killpg(process.pid, signal.SIGKILL)  # with its children, which would slow the next check down
            process.wait()
            if not isinstance(error, subprocess.TimeoutExpired):
                raise
            error_text = f"{check.title}: stopped after {seconds:.0f} s; --long gives it more"
        return [Row(**json.loads(line)) for line in file.read_text().splitlines()], error_text


def run(given: Namespace) -> int:
    """Runs one check; prints and writes each row as soon as it is measured."""
    import gpu_checks

    size = gpu_checks.Size(gpu=gpu_name() is not None and not given.tiny, long=given.long)
    rows: Iterator[Row] = getattr(gpu_checks, given.only)(size)
    with given.rows.open("a", encoding="utf-8", buffering=1) as file:
        for row in rows:
            file.write(json.dumps(asdict(row)) + "\n")
            value = "not measured" if row.value is None else f"{row.value:,.4g} {row.unit}"
            print(f"{row.figure.strip()}: {value}", flush=True)
    return 0


def keep(rows: list[Row], seconds: float, given: Namespace) -> None:
    """Replaces the results of the last run, and writes RESULTS.md."""
    import figures

    command = f"python bench/gpu_check.py{' --long' * given.long}"
    figures.keep("gpu_check", command, seconds, [asdict(row) for row in rows], figures.RESULTS)
    figures.write_page(figures.RESULTS, figures.PAGE)


def summarise(rows: list[Row], failed: list[str], gpu: str | None) -> None:
    """Prints how many requirements are met, which are not, with likely causes, and what was not measured."""
    short, open_ = [row for row in rows if row.reached is False], [row for row in rows if row.value is None]
    print()
    for row in short:
        print(f"not met: {row.figure.strip()}: {row.value:g} {row.unit}, required {row.required}")
    for error_text in failed:
        print(f"failed: {error_text}")
    for check in CHECKS if short or failed else ():
        print(f"    {check.title}: {check.causes}")
    if gpu is None:
        print(f"not measured: all {len(open_)} results that need a GPU; every check ran on the CPU")
    elif open_:
        print(f"not measured: {'; '.join(row.figure.strip() for row in open_)}")
    print(f"{sum(row.reached is True for row in rows)} requirements met, {len(short)} not, {len(failed)} checks failed")


if __name__ == "__main__":
    os.environ.setdefault("DVC_NO_ANALYTICS", "1")
    sys.exit(main())
