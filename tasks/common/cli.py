"""How stages and commands run: progress, one sentence for what goes wrong, and a receipt of what ran where."""

import errno
import json
import math
import os
import platform
import re
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from tqdm import tqdm

import tasks
from tasks.common.errors import Stopped, UserError
from tasks.common.files import write_json
from tasks.common.inputs import stage_inputs
from tasks.common.mistakes import Mistake, requested_file, write_mistake
from tasks.common.params import Params, load_params
from tasks.common.paths import work_folder
from tasks.common.progress import PROGRESS, progress_folder

T = TypeVar("T")
DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
SECONDS_BETWEEN_LINES = 10.0
SECONDS_BETWEEN_FILES = 2.0


def run_stage(stage: str, main: Callable[[Params], Mapping[str, object]]) -> None:
    """Runs a stage's `main` with params.yaml and writes its receipt: facts, seconds, machine and peak memory.

    The stage refuses to run the code of another checkout, because the dependencies that dvc.yaml declares would not be
    what ran.
    """

    def measured() -> None:
        code, folder = Path(tasks.__file__).absolute().parents[1], Path.cwd()
        if code != folder:
            raise UserError(
                f"the stage would run the code of {code} on the data of {folder}; run it from {code}, or with the code "
                f"of {folder} first on Python's path (without PYTHONSAFEPATH, `python -P` and PYTHONPATH)"
            )
        params = load_params()
        key = stage_inputs(stage).key
        began, start = datetime.now(UTC), time.perf_counter()
        facts = dict(main(params))
        seconds = time.perf_counter() - start
        receipt = {"stage": stage, "key": key, "began": began.isoformat(), "seconds": round(seconds, 1)}
        receipt |= {"peak_mib": _peak_mib(), "machine": machine(), "facts": facts}
        write_json(work_folder() / "receipts" / stage / f"{key}.json", receipt)
        print(f"{stage}: done in {seconds:.1f} s, peak memory {_peak_mib():,} MiB", flush=True)

    run(measured)


def run(main: Callable[[], None]) -> None:
    """Runs a command; a UserError or a full disk ends it with one sentence, also in the requested file, and code 2."""
    file = requested_file()
    try:
        main()
        return
    except UserError as error:
        mistake = Mistake(kind="user error", sentence=str(error))
    except OSError as error:
        if error.errno not in DISK_FULL:
            raise
        where = f" at {error.filename}" if error.filename else f" under {Path.cwd()}"
        sentence = f"the disk is full{where} ({error.strerror}); nothing was changed, free space and rerun"
        mistake = Mistake(kind="disk full", sentence=sentence)
    except Stopped as stopped:
        print(stopped, file=sys.stderr, flush=True)
        sys.exit(stopped.code)
    except KeyboardInterrupt:
        print("stopped by the keyboard", file=sys.stderr, flush=True)
        sys.exit(130)
    print(f"error: {mistake.sentence}", file=sys.stderr, flush=True)
    write_mistake(file, mistake)
    sys.exit(mistake.code)


def progress(items: Iterable[T], total: int, what: str, unit: str = "images") -> Iterator[T]:
    """Yields `items` and shows their progress."""
    with Progress(total, what, unit) as shown:
        for item in items:
            yield item
            shown.advance(1)


class Progress:
    """Progress of long work: a bar on a terminal, elsewhere a line every ten seconds, and the file progress.json."""

    def __init__(self, total: int, what: str, unit: str = "images", done: int = 0) -> None:
        self._bar = tqdm(total=total, initial=done, desc=what, unit=f" {unit}", disable=None, dynamic_ncols=True)
        self._total, self._what, self._unit = total, what, unit
        self._first = self._done = done
        self._metrics: dict[str, float] = {}
        self._start = self._printed = self._written = time.perf_counter()

    def __enter__(self) -> "Progress":
        self._write()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()
        self._write(ended=True)

    def advance(self, count: int, **metrics: float) -> None:
        """Counts `count` more; `metrics`, such as losses, are shown beside."""
        self._done, self._metrics, now = self._done + count, metrics, time.perf_counter()
        self._bar.update(count)
        if not self._bar.disable:
            self._bar.set_postfix({name: f"{value:.3g}" for name, value in metrics.items()}, refresh=False)
        elif now - self._printed >= SECONDS_BETWEEN_LINES or self._done >= self._total:
            self._printed = now
            print(self._line(), flush=True)
        if now - self._written >= SECONDS_BETWEEN_FILES:
            self._written = now
            self._write()

    def _pace(self) -> tuple[float, float]:
        """Returns units per second since the start, and the seconds left at that rate."""
        rate = (self._done - self._first) / max(time.perf_counter() - self._start, 1e-9)
        return rate, max(self._total - self._done, 0) / max(rate, 1e-9)

    def _line(self) -> str:
        rate, left = self._pace()
        shown = "".join(f", {name} {value:.3g}" for name, value in self._metrics.items())
        return (
            f"{self._what}: {self._done:,} of {self._total:,} {self._unit} "
            f"({self._done / max(self._total, 1):.0%}), {rate:,.0f}/s, {left:.0f} s left{shown}"
        )

    def _write(self, ended: bool = False) -> None:
        rate, left = self._pace()
        state = {"what": self._what, "unit": self._unit, "done": self._done, "total": self._total, "ended": ended}
        state |= {"per_second": rate, "seconds_left": left if rate else None, "at": time.time()}
        metrics = {name: value if math.isfinite(value) else None for name, value in self._metrics.items()}
        progress_folder().write(PROGRESS, json.dumps(state | {"metrics": metrics}).encode())


def machine() -> dict[str, object]:
    """Returns host, processor, system and, where there is one, the first GPU with its driver."""
    gpu, _, driver = _nvidia().partition(", ")
    return {
        "host": platform.node(),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "gpu": gpu or None,
        "driver": driver or None,
    }


def _nvidia() -> str:
    """Returns name and driver of the first NVIDIA GPU as nvidia-smi prints them; empty where there is none."""
    command = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    with suppress(OSError, subprocess.SubprocessError):
        output = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout
        return output.partition("\n")[0].strip()
    return ""


def _processor() -> str:
    with suppress(OSError):
        if name := re.search(
            r"^model name[^:\n]*:(.*)", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE
        ):
            return name[1].strip()
    return platform.processor()


def _peak_mib() -> int:
    """Returns the largest resident memory of this process or of one of its children, in MiB."""
    unit = 2**20 if sys.platform == "darwin" else 2**10
    usage = (resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return int(max(usage) // unit)
