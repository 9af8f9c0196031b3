"""Runs the measurements and writes bench/RESULTS.md: `python bench/figures.py [NAME ...] [--long]`, or `make figures`.

Without names it runs all short measurements, together an hour on two cores, after `make run`; `--long` adds those that
take half an hour or more each. The results of each measurement are kept in bench/results with its command, machine and
commit, and RESULTS.md shows all of them, so a measurement that is not run keeps its last results. Exit code 1 when a
requirement is not met or a measurement fails.
"""

import json
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
from arguments import parse, parser
from checkouts import ROOT

sys.path.insert(0, str(ROOT))

from tasks.common.cli import machine

GPU_CHECK = "gpu_check"  # it writes its own results, on machines that have a GPU
RESULTS, PAGE = ROOT / "bench/results", ROOT / "bench/RESULTS.md"
NEEDED = ROOT / "data/bundle/gan"


@dataclass(frozen=True)
class Measurement:
    """A script of this folder and its arguments."""

    name: str
    arguments: tuple[str, ...] = ()
    long: bool = False

    @property
    def command(self) -> str:
        return " ".join(["python", f"bench/{self.name}.py", *self.arguments])


MEASUREMENTS = (
    Measurement("train_speed"),
    Measurement("resume"),
    Measurement("repeat"),
    Measurement("neighbours"),
    Measurement("evaluation"),
    Measurement("inference"),
    Measurement("serving", ("data/bundle/gan",)),
    Measurement("shipping"),
    Measurement("stream_memory"),
    Measurement("orchestration"),
    Measurement("newcomer", long=True),
    Measurement("recipes", ("--seeds", "0", "1"), long=True),
    Measurement("health", long=True),
    Measurement("gate", long=True),
)


def main() -> int:
    """Runs the measurements and writes the page."""
    names = [one.name for one in MEASUREMENTS]
    made = parser(__doc__)
    made.add_argument("names", nargs="*", metavar="NAME", help=f"what to measure: {', '.join(names)}")
    made.add_argument("--long", action="store_true", help="also the measurements that take half an hour or more each")
    given = parse(made, names=["stream_memory"])
    if unknown := [name for name in given.names if name not in names]:
        made.error(f"there is no measurement {unknown[0]}; there are {', '.join(names)}")
    if not (NEEDED.is_dir() or given.tiny):
        made.error(f"{NEEDED.relative_to(ROOT)} is missing; `make run` makes it")
    named = [one for one in MEASUREMENTS if one.name in given.names]
    chosen = named or [one for one in MEASUREMENTS if given.long or not one.long]
    with tempfile.TemporaryDirectory() as spare:
        results, written = (Path(spare), Path(spare) / PAGE.name) if given.tiny else (RESULTS, PAGE)
        failed = [one.name for one in chosen if not measured(one, results, given.tiny)]
        kept = write_page(results, written)
    publish_all(kept, given.json)
    missed = any(row["reached"] is False for one in kept for row in one["rows"])
    return 1 if failed or (missed and not given.tiny) else 0


def publish_all(kept: list[dict[str, Any]], file: Path | None) -> None:
    """Writes all rows as one table, where a file is named."""
    if file:
        rows = [row for one in kept for row in one["rows"]]
        file.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


def measured(one: Measurement, results: Path, tiny: bool = False) -> bool:
    """Runs one measurement and keeps its rows; returns False when it wrote none."""
    print(f"\n{one.command}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        file, start = Path(folder) / "rows.json", time.monotonic()
        options = ["--json", str(file), *["--tiny"] * tiny]
        subprocess.run([sys.executable, *one.command.split()[1:], *options], cwd=ROOT, check=False)
        if not file.is_file():
            print(f"{one.command} failed, so its last results stay", file=sys.stderr)
            return False
        rows = json.loads(file.read_text(encoding="utf-8"))
    keep(one.name, one.command, time.monotonic() - start, rows, results)
    return True


def keep(name: str, command: str, seconds: float, rows: list[dict[str, Any]], results: Path) -> None:
    """Writes a measurement's rows with its command, machine and commit into the folder of results."""
    about = {"name": name, "command": command, "seconds": round(seconds)}
    about |= {"commit": commit(), "date": date.today().isoformat(), "machine": describe()}
    results.mkdir(exist_ok=True)
    (results / f"{name}.json").write_text(json.dumps(about | {"rows": rows}, indent=2) + "\n", encoding="utf-8")


def write_page(results: Path, written: Path) -> list[dict[str, Any]]:
    """Writes RESULTS.md from all files in the folder of results, and returns their contents."""
    names = [*(one.name for one in MEASUREMENTS), GPU_CHECK]
    kept = [json.loads(file.read_text()) for name in names if (file := results / f"{name}.json").exists()]
    written.write_text("\n".join(page(kept)), encoding="utf-8")
    print(f"{written} is written")
    return kept


def commit() -> str:
    """Returns the last commit, which the measurements clone; `unknown` on a machine without git."""
    command = ["git", "rev-parse", "--short=10", "HEAD"]
    try:
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def describe() -> str:
    """Describes the machine in one line."""
    here = machine()
    memory = psutil.virtual_memory().total / 2**30
    parts = [f"{psutil.cpu_count()} cores of {here['processor']}", f"{memory:.0f} GiB", str(here["gpu"] or "no GPU")]
    return ", ".join([*parts, f"Python {platform.python_version()}", f"torch {version('torch')}"])


def page(kept: list[dict[str, Any]]) -> Iterator[str]:
    """Yields the lines of RESULTS.md."""
    yield "# Results\n"
    yield "Written by `python bench/figures.py`; [README.md](README.md) describes all measurements.\n"
    yield from _those("Requirements that are not met", kept, reached=False)
    yield from _those("Requirements that this machine cannot measure", kept, reached=None)
    for one in kept:
        yield f"\n## {one['name']}\n"
        yield f"    {one['command']}\n"
        yield f"{one['machine']}; commit {one['commit']}, {one['date']}, {one['seconds'] / 60:.1f} minutes.\n"
        yield "| result | value | required | met |\n| --- | --- | --- | --- |"
        yield from map(_line, one["rows"])
    yield ""


def _those(title: str, kept: list[dict[str, Any]], *, reached: bool | None) -> Iterator[str]:
    rows = [(one["name"], row) for one in kept for row in one["rows"] if row["required"] and row["reached"] is reached]
    yield f"## {title}\n"
    yield (
        "\n".join(f"- [{name}](#{name}): {_figure(row)}, required {row['required']}" for name, row in rows)
        or "Nothing."
    )
    yield ""


def _figure(row: Mapping[str, Any]) -> str:
    return f"{row['figure'].strip()}: {_value(row)}" if row["value"] is not None else row["figure"].strip()


def _value(row: Mapping[str, Any]) -> str:
    if row["value"] is None:
        return "unmeasured"
    text = f"{row['value']:,.4g}" if abs(row["value"]) < 1000 else f"{row['value']:,.0f}"
    return f"{text} {row['unit']}".strip()


def _line(row: Mapping[str, Any]) -> str:
    word = {None: "", True: "yes", False: "**no**"}[row["reached"]]
    return f"| {row['figure'].strip()} | {_value(row)} | {row['required']} | {word} |"


if __name__ == "__main__":
    sys.exit(main())
