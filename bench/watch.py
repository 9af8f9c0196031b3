"""Whether the watch sees what goes wrong, and nothing else: `python bench/watch.py [--seeds 10] [--json FILE]`.

Provoked: the preset `quick` with its learning rates times 50, and with rates of 1, which is the settings' bound. Every
run has to end with one sentence and exit code 2, and leave its best weights readable. One rollback is allowed, which
goes on at half of those rates. The provoked GAN has 96 channels: with `quick`'s own 32, four of ten trained on at 50
times their rates as healthy ones do, and with 48 and 64 one of ten, so nothing was there to be stopped. Healthy: every
preset at its own rates, without a rollback, so that any alarm ends the run. A provoked run that is not stopped need not
be ill: its last probe stands beside that of the healthy ones, and where a GAN's is above 1, as bad as one mean point,
it went wrong unseen.

All runs are stages in temporary clones, on Fashion-MNIST at 28x28, on the CPU with one thread each, and shortened to
480 steps: the watch begins after 200, and four looks at the validation split follow. Losses, methods, rates, the shape
of the schedules, code and noise are the presets' own. So is the width of the provoked VAE; healthy networks are
narrower, so that the presets for a GPU run here as well. Batches are at most 64 images for the GAN and 128 for the
others, and the VAE's prior is not fitted, which comes after the watch. Needs the checkout's .venv; each seed
takes about four minutes of CPU time, two trainings at a time.
"""

import csv
import math
import statistics
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from queue import SimpleQueue
from shutil import copytree

from arguments import parse, parser
from checkouts import ROOT, Checkout, cloned
from rows import Row, at_least, at_most, publish
from ruamel.yaml import YAML

sys.path.insert(0, str(ROOT))

from models.training.health import USELESS
from tasks.common.errors import UserError
from tasks.common.files import remove
from tasks.common.tensors import load_tensors

PRESETS = ("quick", "classic", "full")
STEPS, LOG_STEPS, PROBE_STEPS = 480, 20, 80
HIGHEST = 1.0  # learning rate, the settings' bound
PROVOKED = {50: "50 x the rates", math.inf: "rates of 1"}  # by what a preset's learning rates are multiplied


@dataclass(frozen=True)
class Trained:
    """A stage that trains: its module, its optimisers, its curves, its width where healthy or provoked, its batch."""

    stage: str
    module: str
    optimisers: tuple[str, ...]
    curves: str | None
    channels: int
    provoked_channels: int
    batch: int


TRAININGS = [
    Trained("train_gan", "tasks.train.gan", ("generator", "discriminator"), "data/curves/gan.csv", 16, 96, 64),
    Trained("train_vae", "tasks.train.vae", ("optimiser",), "data/curves/vae.csv", 16, 32, 128),
    Trained("reference", "tasks.reference", ("optimiser",), None, 8, 24, 128),
]


@dataclass(frozen=True)
class Run:
    """One training of a preset with a seed, at `factor` times its learning rates or at their bound."""

    training: Trained
    preset: str
    seed: int
    factor: float = 1.0

    @property
    def provoked(self) -> bool:
        """Whether something should go wrong."""
        return self.factor in PROVOKED

    def __str__(self) -> str:
        how = f", {PROVOKED[self.factor]}" if self.provoked else ""
        return f"{self.preset} {self.training.stage}{how}, seed {self.seed}"


@dataclass(frozen=True)
class Outcome:
    """How it ended: the sentence it failed with, whether the best weights can be read, the last look's figures."""

    run: Run
    alarm: str | None
    kept: bool
    last: dict[str, float]


def main() -> None:
    """Measures, prints a table and writes the JSON."""
    made = parser(__doc__)
    made.add_argument("--seeds", type=int, default=10, help="seeds 0 to this - 1")
    made.add_argument("--workers", type=int, default=2, help="trainings at a time")
    made.add_argument("--from", dest="given", type=Path, metavar="FOLDER", help="a folder that has Fashion-MNIST")
    given = parse(made, seeds=1)
    presets = PRESETS[: 1 if given.tiny else None]
    runs = list(all_runs(given.seeds, presets))
    with cloned(given.workers, given.tiny) as clones:
        prepare(clones, given.given)
        outcomes = run_all(clones, runs)
    publish(table(outcomes, presets), given.json)


def all_runs(seeds: int, presets: Sequence[str]) -> Iterable[Run]:
    """Provoked runs first, then healthy ones."""
    for seed, factor, training in product(range(seeds), PROVOKED, TRAININGS[:2]):
        yield Run(training, "quick", seed, factor)
    for seed, preset, training in product(range(seeds), presets, TRAININGS):
        yield Run(training, preset, seed)


def prepare(clones: list[Checkout], folder: Path | None) -> None:
    """Fashion-MNIST in every clone, ready to train on."""
    first = clones[0]
    first.ingest("fashion-mnist", folder)
    first.must("-m", "tasks.preprocess")
    for clone in clones[1:]:
        copytree(first / "data/prepared", clone / "data/prepared")


def run_all(clones: list[Checkout], runs: list[Run]) -> list[Outcome]:
    """As many runs at a time as there are clones."""
    free: SimpleQueue[Checkout] = SimpleQueue()
    for clone in clones:
        free.put(clone)

    def one(run: Run) -> Outcome:
        clone = free.get()
        try:
            outcome = run_one(clone, run)
        finally:
            free.put(clone)
        last = ", ".join(f"{name} {value:.3g}" for name, value in outcome.last.items())
        print(f"{run}: {outcome.alarm or f'no alarm ({last})'}", flush=True)
        return outcome

    with ThreadPoolExecutor(len(clones)) as pool:
        return list(pool.map(one, runs))


def run_one(clone: Checkout, run: Run) -> Outcome:
    """Trains from nothing in a clone and reads what is left."""
    checkpoints = clone / ".work/checkpoints" / run.training.stage
    remove(checkpoints)
    clone.set_params(settings(run))
    done = clone.python("-m", run.training.module)
    failed = f"error: {run.training.stage} failed: "
    if done.returncode and not (done.returncode == 2 and done.stderr.startswith(failed)):
        sys.exit(f"error: {run} did not fail by the watch: {done.stderr.strip()}")
    alarm = done.stderr.removeprefix(failed).split(";")[0] if done.returncode else None
    last = {} if alarm or run.training.curves is None else last_look(clone / run.training.curves)
    return Outcome(run, alarm, readable(checkpoints), last)


def settings(run: Run) -> dict[str, object]:
    """The preset's section, smaller and shorter, as changes to params.yaml."""
    sections = YAML(typ="safe").load(ROOT / "presets" / f"{run.preset}.yaml")
    section, training = sections[run.training.stage], run.training
    batch = min(section["batch"], training.batch)
    channels = training.provoked_channels if run.provoked else training.channels
    section |= {
        "seed": run.seed,
        "batch": batch,
        "micro_batch": 0,
        "channels": channels,
        "rollbacks": int(run.provoked),
    }
    section |= {"log_every": LOG_STEPS * batch, "probe_every": PROBE_STEPS * batch, "checkpoint_every": STEPS * batch}
    section["stop"] = {"n_images": STEPS * batch, "patience": 0, "max_seconds": 0}
    if "prior" in section:
        section["prior"] = "standard"
    for name in training.optimisers:
        section[name]["learning_rate"] = min(run.factor * section[name]["learning_rate"], HIGHEST)
    return {"threads": 1, "device": "cpu", **{f"{training.stage}.{name}": value for name, value in section.items()}}


def last_look(curves: Path) -> dict[str, float]:
    """The last row of the curves, where the validation split was looked at; `margin`: between a GAN's logits."""
    with curves.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    last = {name: float(value) for name, value in rows[-1].items() if name != "n_images"}
    return last | ({"margin": last["logit_real"] - last["logit_fake"]} if "logit_real" in last else {})


def readable(checkpoints: Path) -> bool:
    """Whether the best weights are there and whole."""
    files = list(checkpoints.glob("*/best.safetensors"))
    try:
        return len(files) == 1 and bool(load_tensors(files[0])[0])
    except UserError:
        return False


def table(outcomes: list[Outcome], presets: Sequence[str]) -> list[Row]:
    """What is required, and beside it the last probes of what was not stopped."""
    healthy = [outcome for outcome in outcomes if not outcome.run.provoked]
    rows = []
    for factor, how in PROVOKED.items():
        rows += provoked_rows(how, [outcome for outcome in outcomes if outcome.run.factor == factor])
    provoked = [outcome for outcome in outcomes if outcome.alarm and outcome.run.provoked]
    kept = sum(outcome.kept for outcome in provoked)
    rows.append(at_least("best weights kept, of those stopped", kept, len(provoked), f"of {len(provoked)}"))
    rows.append(at_most("healthy runs with an alarm", rollback_reasons(healthy), 0, f"of {len(healthy)}"))
    for preset, training in product(presets, TRAININGS[:2]):
        ours = [outcome for outcome in healthy if (outcome.run.preset, outcome.run.training) == (preset, training)]
        rows += last_looks(f"{preset} {training.stage}", ours)
    return rows


def provoked_rows(how: str, outcomes: list[Outcome]) -> list[Row]:
    """How many were stopped, in all and of each model, and what the others came to."""
    gans, vaes = ([each for each in outcomes if each.run.training == training] for training in TRAININGS[:2])
    rows = [at_least(f"provoked by {how}, stopped", rollback_reasons(outcomes), len(outcomes), f"of {len(outcomes)}")]
    for title, ours in (("GAN", gans), ("VAE", vaes)):
        rows.append(Row(f"    {title}", rollback_reasons(ours), f"of {len(ours)}"))
        rows += last_looks("    the others", ours)
    unseen = sum(not each.alarm and each.last["probe"] > USELESS for each in gans)
    return [*rows, at_most("    GANs that went wrong unseen", unseen, 0, f"of {len(gans)}")]


def rollback_reasons(outcomes: list[Outcome]) -> int:
    """How many were stopped."""
    return sum(outcome.alarm is not None for outcome in outcomes)


def last_looks(title: str, outcomes: list[Outcome]) -> list[Row]:
    """The last probe of the runs without an alarm: the median, and the worst, which is the largest."""
    probes = [outcome.last["probe"] for outcome in outcomes if not outcome.alarm]
    if not probes:
        return []
    median, worst = statistics.median(probes), max(probes)
    return [Row(f"    {title}, last probe, median", median), Row(f"    {title}, last probe, worst", worst)]


if __name__ == "__main__":
    main()
