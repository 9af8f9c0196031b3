"""Measures the README's commands on a fresh clone: `python bench/newcomer.py [--json FILE]`.

In a clone of the last commit, without .venv and with empty caches of pip, uv, Prefect and DVC: `make run` on
Fashion-MNIST with the preset `quick`, the same again with nothing changed, `make repro`, and `make test`. The
table also has the run's metrics and the memory of its largest stage. Half an hour on two cores.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from arguments import parse, parser
from checkouts import Checkout, cloned
from rows import Row, at_most, publish

CACHES = ("UV_CACHE_DIR", "PIP_CACHE_DIR", "XDG_CACHE_HOME", "PREFECT_HOME", "DVC_SITE_CACHE_DIR")
MODELS = ("gan", "vae")
STAGES = (
    "preprocess",
    "reference",
    "reference_second",
    "train_gan",
    "export_gan",
    "evaluate_gan",
)  # stages of a tiny run
METRICS = ("fd_relative", "coverage", "precision", "recall", "memorised")


def main() -> None:
    """Measures, prints a table and writes the JSON."""
    given = parse(parser(__doc__))
    with cloned(tiny=given.tiny) as [clone]:
        environment = empty(clone.path.parent / "caches")
        rows = tiny_rows(clone, environment) if given.tiny else measured(clone, environment)
    publish(rows, given.json)


def measured(clone: Checkout, environment: Mapping[str, str]) -> list[Row]:
    """Measures the commands of the README."""
    return [
        at_most("make run, set-up and data included", timed(clone, environment, "run") / 60, 15, "minutes"),
        *scored(clone),
        Row("largest stage", max(memory(clone)), "MiB"),
        at_most("make run, again", timed(clone, environment, "run"), 20, "s"),
        Row("make repro, after it", timed(clone, environment, "repro"), "s"),
        at_most("make test", timed(clone, environment, "test") / 60, 10, "minutes"),
    ]


def tiny_rows(clone: Checkout, environment: Mapping[str, str]) -> list[Row]:
    """Measures `make help`, which installs nothing, and the metrics of stages run with this interpreter."""
    clone.ingest("digits")
    clone.make(*STAGES)
    return [
        at_most("make help", timed(clone, environment, "help"), 20, "s"),
        *scored(clone, MODELS[:1]),
        Row("largest stage", max(memory(clone)), "MiB"),
    ]


def empty(caches: Path) -> dict[str, str]:
    """Returns an environment without caches and without a virtual environment."""
    path = [place for place in os.environ["PATH"].split(os.pathsep) if Path(place) != Path(sys.executable).parent]
    own = {"VIRTUAL_ENV", "PYTHONPATH", "MAKEFLAGS", "MAKELEVEL", "MFLAGS"}
    kept = {name: value for name, value in os.environ.items() if name not in own}
    return kept | {name: str(caches / name.lower()) for name in CACHES} | {"PATH": os.pathsep.join(path)}


def timed(clone: Checkout, environment: Mapping[str, str], target: str) -> float:
    """Returns the seconds of `make TARGET`; ends this process with its last lines if it fails."""
    start = time.perf_counter()
    done = subprocess.run(
        ["make", target], cwd=clone.path, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"error: `make {target}` failed:\n{(done.stdout + done.stderr)[-3000:]}")
    seconds = time.perf_counter() - start
    print(f"make {target}: {seconds:.1f} s", flush=True)
    return seconds


def scored(clone: Checkout, models: Sequence[str] = MODELS) -> Iterator[Row]:
    """Yields the metrics of the run's models with the first evaluator."""
    for model in models:
        figures = json.loads((clone / f"data/metrics/{model}.json").read_text(encoding="utf-8"))
        yield from (Row(f"{model.upper()}: {figure}", figures[figure]) for figure in METRICS)


def memory(clone: Checkout) -> Iterator[int]:
    """Yields the peak resident memory of each stage in MiB, from its receipts."""
    for receipt in (clone / ".work/receipts").glob("*/*.json"):
        yield json.loads(receipt.read_text(encoding="utf-8"))["peak_mib"]


if __name__ == "__main__":
    main()
