"""Measures whether diagnostics stop diverged trainings, and no others: `python bench/health.py [--seeds 10]`.

Provoked runs are the preset `quick` with its learning rates times 50, and with rates of 1, the largest that settings
allow. Each must end with a one-sentence error and exit code 2, and leave its best weights readable. One rollback is
allowed, which continues at half of those rates. The provoked GAN has 96 channels: of ten with `quick`'s own 32 channels
four trained normally at 50 times their rates, and with 48 and 64 channels one of ten. Healthy runs are every preset at
its own rates, without rollbacks, so that any diagnostic ends the run. A provoked run that is not stopped has not always
diverged: the table shows its last probe beside those of the healthy runs, and a GAN whose probe is above 1, as bad as
one mean point, counts as diverged without notice.

All runs are stages in temporary clones, on Fashion-MNIST at 28x28, on the CPU with one thread each, shortened to 480
steps: diagnostics begin after 200, and four probes of the validation split follow. Losses, methods, rates, the shape of
the schedules, latent code and noise are the presets' own. So is the width of the provoked VAE; healthy networks are
narrower, so that the presets for a GPU run here too. Batches are at most 64 images for the GAN and 128 for the others,
and the VAE's prior, which is fitted after training, is left out. Needs the checkout's .venv; each seed takes about four
minutes of CPU time, two trainings at a time.
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

from models.training.health import CONSTANT_GENERATOR_PROBE
from tasks.common.errors import UserError
from tasks.common.files import remove
from tasks.common.tensors import load_tensors

PRESETS = ("quick", "classic", "full")
STEPS, LOG_STEPS, PROBE_STEPS = 480, 20, 80
HIGHEST = 1.0  # the largest learning rate that settings allow
PROVOKED = {50: "50 x the rates", math.inf: "rates of 1"}  # factors of a preset's learning rates


@dataclass(frozen=True)
class Trained:
    """A training stage: module, optimisers, curves, channels when healthy and when provoked, batch size."""

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
    """One training of a preset with a seed, at `factor` times its learning rates, at most HIGHEST."""

    training: Trained
    preset: str
    seed: int
    factor: float = 1.0

    @property
    def provoked(self) -> bool:
        """Whether the training should diverge."""
        return self.factor in PROVOKED

    def __str__(self) -> str:
        how = f", {PROVOKED[self.factor]}" if self.provoked else ""
        return f"{self.preset} {self.training.stage}{how}, seed {self.seed}"


@dataclass(frozen=True)
class Outcome:
    """How a run ended: its error if any, whether the best weights are readable, the last row of its curves."""

    run: Run
    error: str | None
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
    """Yields provoked runs first, then healthy ones."""
    for seed, factor, training in product(range(seeds), PROVOKED, TRAININGS[:2]):
        yield Run(training, "quick", seed, factor)
    for seed, preset, training in product(range(seeds), presets, TRAININGS):
        yield Run(training, preset, seed)


def prepare(clones: list[Checkout], folder: Path | None) -> None:
    """Puts preprocessed Fashion-MNIST into every clone."""
    first = clones[0]
    first.ingest("fashion-mnist", folder)
    first.must("-m", "tasks.preprocess")
    for clone in clones[1:]:
        copytree(first / "data/prepared", clone / "data/prepared")


def run_all(clones: list[Checkout], runs: list[Run]) -> list[Outcome]:
    """Runs all, as many at a time as there are clones."""
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
        print(f"{run}: {outcome.error or f'no error ({last})'}", flush=True)
        return outcome

    with ThreadPoolExecutor(len(clones)) as pool:
        return list(pool.map(one, runs))


def run_one(clone: Checkout, run: Run) -> Outcome:
    """Trains from scratch in a clone and reads how it ended."""
    checkpoints = clone / ".work/checkpoints" / run.training.stage
    remove(checkpoints)
    clone.set_params(settings(run))
    done = clone.python("-m", run.training.module)
    failed = f"error: {run.training.stage} failed: "
    if done.returncode and not (done.returncode == 2 and done.stderr.startswith(failed)):
        sys.exit(f"error: {run} failed for another reason than diagnostics: {done.stderr.strip()}")
    error = done.stderr.removeprefix(failed).split(";")[0] if done.returncode else None
    last = {} if error or run.training.curves is None else last_row(clone / run.training.curves)
    return Outcome(run, error, readable(checkpoints), last)


def settings(run: Run) -> dict[str, object]:
    """Returns the preset's section, smaller and shorter, as changes to params.yaml."""
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


def last_row(curves: Path) -> dict[str, float]:
    """Returns the last row of the curves; for a GAN also `margin`, the distance between the mean logits."""
    with curves.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    last = {name: float(value) for name, value in rows[-1].items() if name != "n_images"}
    return last | ({"margin": last["logit_real"] - last["logit_fake"]} if "logit_real" in last else {})


def readable(checkpoints: Path) -> bool:
    """Returns whether the best weights exist and can be read."""
    files = list(checkpoints.glob("*/best.safetensors"))
    try:
        return len(files) == 1 and bool(load_tensors(files[0])[0])
    except UserError:
        return False


def table(outcomes: list[Outcome], presets: Sequence[str]) -> list[Row]:
    """Returns the requirements, and the last probes of runs that were not stopped."""
    healthy = [outcome for outcome in outcomes if not outcome.run.provoked]
    rows = []
    for factor, how in PROVOKED.items():
        rows += provoked_rows(how, [outcome for outcome in outcomes if outcome.run.factor == factor])
    provoked = [outcome for outcome in outcomes if outcome.error and outcome.run.provoked]
    kept = sum(outcome.kept for outcome in provoked)
    rows.append(at_least("best weights kept, of those stopped", kept, len(provoked), f"of {len(provoked)}"))
    rows.append(at_most("healthy runs that were stopped", stopped(healthy), 0, f"of {len(healthy)}"))
    for preset, training in product(presets, TRAININGS[:2]):
        group = [outcome for outcome in healthy if (outcome.run.preset, outcome.run.training) == (preset, training)]
        rows += last_probes(f"{preset} {training.stage}", group)
    return rows


def provoked_rows(how: str, outcomes: list[Outcome]) -> list[Row]:
    """Returns how many were stopped, in all and of each model, and the last probes of the others."""
    gans, vaes = ([each for each in outcomes if each.run.training == training] for training in TRAININGS[:2])
    rows = [at_least(f"provoked by {how}, stopped", stopped(outcomes), len(outcomes), f"of {len(outcomes)}")]
    for title, ours in (("GAN", gans), ("VAE", vaes)):
        rows.append(Row(f"    {title}", stopped(ours), f"of {len(ours)}"))
        rows += last_probes("    the others", ours)
    missed = sum(not each.error and each.last["probe"] > CONSTANT_GENERATOR_PROBE for each in gans)
    return [*rows, at_most("    GANs that diverged without notice", missed, 0, f"of {len(gans)}")]


def stopped(outcomes: list[Outcome]) -> int:
    """Counts the runs that were stopped."""
    return sum(outcome.error is not None for outcome in outcomes)


def last_probes(title: str, outcomes: list[Outcome]) -> list[Row]:
    """Returns median and largest last probe of the runs that were not stopped."""
    probes = [outcome.last["probe"] for outcome in outcomes if not outcome.error]
    if not probes:
        return []
    median, worst = statistics.median(probes), max(probes)
    return [Row(f"    {title}, last probe, median", median), Row(f"    {title}, last probe, worst", worst)]


if __name__ == "__main__":
    main()
