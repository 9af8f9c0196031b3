"""Measures whether a killed and resumed training gives the same bits: `python bench/resume.py [--kills 20] [--seed 0]`.

In a temporary clone, on scikit-learn's digits, on the CPU and with small networks, the evaluator, the GAN and the VAE
are each trained once without interruption. Then each in turn is started from scratch, killed with SIGKILL at a random
moment, uniform over the uninterrupted run's duration from the start of Python to the writing of the outputs, and run
again. All output files must have the SHA-256 of the uninterrupted run. Needs the checkout's .venv; about five minutes
on two cores.
"""

import random
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from itertools import cycle

from arguments import parse, parser
from checkouts import ROOT, Checkout, cloned
from rows import Row, at_least, publish

sys.path.insert(0, str(ROOT))

from tasks.common.files import remove, sha256_file, sha256_tree

SMALL = {
    "threads": 1,
    "device": "cpu",
    "reference.channels": 4,
    "reference.stop.n_images": 40960,
    "train_gan.channels": 4,
    "train_gan.stop.n_images": 19200,
    "train_vae.channels": 4,
    "train_vae.stop.n_images": 20480,
    "train_vae.prior_steps": 100,
}
# not multiples of each other, so that checkpoints come in the middle of a row of the curves as well
OFTEN = {"log_every": 640, "probe_every": 2560, "checkpoint_every": 1408}
MOST_MISSES = 20  # random moments in a row that came after the training's end


@dataclass(frozen=True)
class Trained:
    """A training stage and its outputs."""

    stage: str
    module: str
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class Unbroken:
    """The SHA-256 of an uninterrupted run's files, and its seconds."""

    hashes: dict[str, str]
    seconds: float


TRAININGS = [
    Trained("reference", "tasks.reference", ("data/reference",)),
    Trained("train_gan", "tasks.train.gan", ("data/weights/gan", "data/curves/gan.csv")),
    Trained("train_vae", "tasks.train.vae", ("data/weights/vae", "data/curves/vae.csv")),
]


def main() -> None:
    """Measures, prints a table and writes the JSON."""
    made = parser(__doc__)
    made.add_argument("--kills", type=int, default=20)
    made.add_argument("--seed", type=int, default=0, help="seed of the moments")
    given = parse(made, kills=1)
    with cloned(tiny=given.tiny) as [clone]:
        prepare(clone)
        unbroken = {training: run_unbroken(clone, training) for training in TRAININGS}
        moments, results, resumed = random.Random(given.seed), [], 0
        for number, training in zip(range(1, given.kills + 1), cycle(TRAININGS), strict=False):
            moment = kill(clone, training, unbroken[training].seconds, moments)
            image, equal = finish(clone, training, unbroken[training].hashes)
            results.append(equal)
            resumed += image > 0
            verdict = "equal" if equal else "NOT EQUAL"
            print(
                f"{number}: {training.stage}, killed at {moment:.2f} s, resumed from image {image:,}: {verdict}",
                flush=True,
            )
    kills = len(results)
    publish(
        [
            at_least("killed and resumed, same bits", sum(results), kills, f"of {kills}"),
            Row("    of them resumed from a checkpoint", resumed, f"of {kills}"),
        ],
        given.json,
    )


def prepare(clone: Checkout) -> None:
    """Preprocesses digits, and sets short trainings with frequent checkpoints."""
    often = {f"{training.stage}.{name}": value for training in TRAININGS for name, value in OFTEN.items()}
    clone.set_params(SMALL | often)
    clone.ingest("digits")
    clone.must("-m", "tasks.preprocess")


def run_unbroken(clone: Checkout, training: Trained) -> Unbroken:
    """Runs a training without interruption, for comparison."""
    wipe(clone, training)
    start = time.perf_counter()
    clone.must("-m", training.module)
    unbroken = Unbroken(written(clone, training), time.perf_counter() - start)
    print(f"{training.stage}: {unbroken.seconds:.1f} s uninterrupted, {len(unbroken.hashes)} files", flush=True)
    return unbroken


def wipe(clone: Checkout, training: Trained) -> None:
    """Removes checkpoints and outputs."""
    shutil.rmtree(clone / ".work/checkpoints" / training.stage, ignore_errors=True)
    remove_outputs(clone, training)


def remove_outputs(clone: Checkout, training: Trained) -> None:
    """Removes the outputs, as DVC does before it runs a stage."""
    for name in training.outputs:
        remove(clone / name)


def hashes(clone: Checkout, training: Trained) -> dict[str, str]:
    """Returns the SHA-256 of every file that the stage wrote."""
    found = {}
    for name in training.outputs:
        path = clone / name
        if path.is_dir():
            found |= {f"{name}/{file}": value for file, value in sha256_tree(path).items()}
        elif path.is_file():
            found[name] = sha256_file(path)
    return found


def written(clone: Checkout, training: Trained) -> dict[str, str]:
    """Returns the same as `hashes`; ends this process where an output is missing."""
    if missing := [name for name in training.outputs if not (clone / name).exists()]:
        sys.exit(f"error: {training.stage} did not write {', '.join(missing)}")
    return hashes(clone, training)


def kill(clone: Checkout, training: Trained, seconds: float, moments: random.Random) -> float:
    """Starts a training, kills it at a random moment and returns that; tries another moment where it had ended."""
    for _ in range(MOST_MISSES):
        wipe(clone, training)
        moment, start = moments.uniform(0, seconds), time.perf_counter()
        process = clone.start("-m", training.module, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            process.wait(moment - (time.perf_counter() - start))
            print(f"{training.stage}: {moment:.2f} s came after the end, trying another moment", flush=True)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            return moment
    sys.exit(f"error: {training.stage} ended before each of {MOST_MISSES} random moments of its unbroken run")


def finish(clone: Checkout, training: Trained, expected: dict[str, str]) -> tuple[int, bool]:
    """Runs the killed training to its end; returns the image it resumed from, and whether the bits are equal."""
    remove_outputs(clone, training)
    done = clone.python("-m", training.module)
    if done.returncode:
        print(f"{training.stage} failed when it was run again: {done.stderr.strip()}", flush=True)
    found = re.search(r"resuming from image ([\d,]+)", done.stdout)
    made = hashes(clone, training)
    for name in sorted(made.keys() | expected.keys()):
        if made.get(name) != expected.get(name):
            print(f"    {name} differs", flush=True)
    return int(found[1].replace(",", "")) if found else 0, done.returncode == 0 and made == expected


if __name__ == "__main__":
    main()
