"""Measures the speed of training beside a busy process: `python bench/neighbours.py [--json FILE]`.

The engine trains the GAN of `quick` on noise images with two threads: first alone on two cores, then beside a neighbour
on the same two cores. The neighbour is a process of two threads that multiply matrices independently, or a second
training of the same kind. PyTorch's threads synchronise many times per step. A thread that waits by spinning occupies
the core that the other thread needs when a neighbour has the other core; OMP_WAIT_POLICY and GOMP_SPINCOUNT set how
long it spins before it sleeps. Linux may also leave both threads on one core, where each waits for the other. The rows
are PyTorch's defaults, values of either variable, and last what the stages set: a spin count, and a core per thread.
For that row a share of the speed of PyTorch's defaults alone is required; two trainings side by side can reach half of
it each at best. Needs Linux, the only system where a process can be bound to cores; takes two to three minutes.
"""

import os
import statistics
import subprocess
import sys
from argparse import SUPPRESS, Namespace
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory

from arguments import parse, parser
from rows import Row, at_least, publish

ROOT = Path(__file__).resolve().parents[1]
CORES = 2
LEAST = 0.4  # share of the speed alone
SIDE, IMAGES = 28, 1000
OWN = "what the stages set"
MULTIPLYING, TRAINING = "multiplications", "a second training"
FOREVER = 10**6  # seconds
READY = "ready"


@dataclass(frozen=True)
class Setting:
    """How threads wait: environment variables, and whether torch is imported before `tasks` can set its own."""

    name: str
    environment: Mapping[str, str]
    torch_first: bool = True


SETTINGS = (
    Setting("PyTorch's defaults", {}),
    Setting("OMP_WAIT_POLICY=ACTIVE", {"OMP_WAIT_POLICY": "ACTIVE"}),
    Setting("GOMP_SPINCOUNT=10000", {"GOMP_SPINCOUNT": "10000"}),
    Setting("OMP_WAIT_POLICY=PASSIVE", {"OMP_WAIT_POLICY": "PASSIVE"}),
    Setting(OWN, {}, torch_first=False),
)


def main() -> None:
    """Measures, prints a table and writes the JSON; with --role, runs as the measured process or a neighbour."""
    made = parser(__doc__)
    made.add_argument("--rounds", type=int, default=1)
    made.add_argument("--seconds", type=float, default=3.0, help="of each run")
    made.add_argument("--batch", type=int, default=64)
    made.add_argument("--role", choices=[TRAINING, MULTIPLYING], help=SUPPRESS)
    made.add_argument("--torch-first", action="store_true", help=SUPPRESS)
    given = parse(made, seconds=0.1, batch=4)
    if given.role:
        work(given)
        return
    if not hasattr(os, "sched_setaffinity") or len(os.sched_getaffinity(0)) < CORES:
        sys.exit(f"error: this needs Linux and {CORES} cores")
    settings = SETTINGS[-1:] if given.tiny else SETTINGS
    with TemporaryDirectory() as place:
        os.environ["TMPDIR"] = place  # where a killed neighbour leaves its images
        found = list[Row]()
        for setting in settings:
            found += rows(setting, given, found[0].value if found else None)
    publish(found, given.json)


def rows(setting: Setting, given: Namespace, default_alone: float | None) -> Iterator[Row]:
    """Yields the speed alone and beside each neighbour, also as a share of `default_alone`."""
    alone = speed(setting, None, given)
    whole = default_alone or alone
    yield Row(f"{setting.name}: alone", alone, "images/s")
    for neighbour in (MULTIPLYING, TRAINING):
        beside = speed(setting, neighbour, given)
        yield Row(f"{setting.name}: beside {neighbour}", beside, "images/s")
        title = f"    {setting.name}: beside {neighbour} / PyTorch's defaults, alone"
        yield at_least(title, beside / whole, LEAST) if setting.name == OWN else Row(title, beside / whole)


def speed(setting: Setting, neighbour: str | None, given: Namespace) -> float:
    """Returns images/s of a training process, the median of the rounds."""
    found = []
    for _ in range(given.rounds):
        with beside(setting, neighbour, given.batch), started(setting, TRAINING, given.seconds, given.batch) as process:
            said, _ = process.communicate()
        if process.returncode:
            sys.exit("error: the training failed")
        found.append(float(said.split()[-1]))
    print(f"{setting.name}, beside {neighbour or 'nothing'}: {statistics.median(found):,.0f} images/s", flush=True)
    return statistics.median(found)


@contextmanager
def beside(setting: Setting, neighbour: str | None, batch: int) -> Iterator[None]:
    """Runs the neighbour within the context; ends this process if the neighbour did not run until the end."""
    if neighbour is None:
        yield
        return
    with started(setting, neighbour, FOREVER, batch) as process:
        try:
            assert process.stdout
            if process.stdout.readline().strip() != READY:
                sys.exit(f"error: the neighbour ({neighbour}) did not start")
            yield
            if process.poll() is not None:
                sys.exit(f"error: the neighbour ({neighbour}) ended before the measurement did")
        finally:
            process.kill()


def started(setting: Setting, role: str, seconds: float, batch: int) -> "subprocess.Popen[str]":
    """Starts this script as a process with the setting's environment, without the caller's OpenMP variables."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_", "KMP_", "MKL_"))}
    command = [sys.executable, __file__, "--role", role, "--seconds", str(seconds), "--batch", str(batch)]
    command += ["--torch-first"] * setting.torch_first
    return subprocess.Popen(command, env=own | dict(setting.environment), stdout=subprocess.PIPE, text=True)


def work(given: Namespace) -> None:
    """Runs the role of a child process on the first cores that it may use."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
    sys.path.insert(0, str(ROOT))
    if given.role == MULTIPLYING:
        multiply()
    else:
        train(given)


def multiply() -> None:
    """Multiplies matrices for ever in as many threads as cores."""
    from threading import Thread

    import numpy as np
    from threadpoolctl import threadpool_limits

    threadpool_limits(1)

    def forever() -> None:
        factor = np.ones((512, 512), np.float32)
        while True:
            factor @ factor

    for _ in range(CORES):
        Thread(target=forever).start()
    print(READY, flush=True)


def train(given: Namespace) -> None:
    """Trains for the given seconds and prints images/s.

    OpenMP reads its variables when torch is imported, so a stage, whose first import is `tasks`, can set them.
    """
    import_module("torch" if given.torch_first else "tasks")
    import torch
    from train_speed import Work, engine, packed, synthetic
    from train_speed import speed as images_per_second

    from models.training.device import choose_mode

    torch.set_num_threads(CORES)
    if not given.torch_first:
        from tasks.common.runtime import pin_threads

        if not pin_threads(CORES):
            sys.exit("error: the threads could not be bound to a core each")
    mode, work = choose_mode("cpu"), Work("gan", SIDE, given.batch)
    with TemporaryDirectory() as place:
        steps = engine(work, packed(Path(place), synthetic(IMAGES), SIDE), mode, share=1.0, gan="quick")
        next(steps)
        print(READY, flush=True)
        print(images_per_second(steps, given.batch, given.seconds, mode.device))


if __name__ == "__main__":
    main()
