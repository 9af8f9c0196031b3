"""Measures the quality of the presets and their alternatives: `python bench/recipes.py [--plots FOLDER] [--json FILE]`.

On Fashion-MNIST, with three seeds each, it trains `quick` as committed on a CPU; on an NVIDIA GPU it trains `full` for
60 s (GAN) and 40 s (VAE), and once as committed. The peer is `classic`, the textbook recipe, in the same engine and for
the wall-clock time that ours took with that seed, the fit of a prior included. A short run measures the speed of each
recipe first; from it follows the number of images that the recipe gets and that its schedules end with. At one third,
two thirds and the end, images of the averaged networks are evaluated with the evaluator of `quick`; that time does not
count. `--tried` adds, with one seed, the rejected alternatives; `--seconds` shortens all trainings.

Needs the checkout's .venv; 55 minutes on two cores.
"""

import argparse
import json
import os
import statistics
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from arguments import parse, parser
from checkouts import ROOT, TINY, cloned
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator
from rows import Row, at_least, at_most, publish
from trainings import CALIBRATION, SIDE, Model, Recipe, Snapshot, Trainings

sys.path.insert(0, str(ROOT))

from tasks.common.image_grid import grid, write_png
from tasks.common.params import load_params
from tasks.common.runtime import prepare
from tasks.evaluate.scores import real_floor

METRICS = ("fd_relative", "precision", "recall", "coverage")
UNFITTED = "fd_relative_standard_prior"  # a metric of a VAE
OURS = {"cpu": "quick", "cuda": "full"}
ON_A_GPU: dict[Model, float] = {"gan": 60, "vae": 40}  # seconds
SHARES: dict[Model, float] = {"gan": 1, "vae": 0.5}  # share of --seconds
RATIOS: dict[Model, float] = {"gan": 0.6, "vae": 0.45}  # ours / classic, on a GPU
TRIED: dict[Model, dict[str, dict[str, object]]] = {
    "gan": {
        "a rate of 2e-4": {"generator.learning_rate": 2e-4, "discriminator.learning_rate": 2e-4},
        "live weights": {"ema_half_life": 0},
        "48 channels": {"channels": 48},
        "64 channels": {"channels": 64},
        "hinge, spectral norm": {"loss": "hinge", "discriminator_norm": "spectral"},
        "relativistic, R1 + R2": {"loss": "relativistic", "discriminator_norm": "none", "r1": 0.1, "r2": 0.1},
        "nearest, then convolution": {"upsample": "nearest"},
        "conditional": {"conditional": "on"},
    },
    "vae": {
        "residual blocks": {"network": "residual"},
        "16 channels": {"channels": 16},
        "a code of 32": {"latent": 32},
        "conditional": {"conditional": "on"},
    },
}


@dataclass
class Result:
    """A recipe, its seeds, and the snapshots of the training with each seed."""

    recipe: Recipe
    seeds: list[int]
    runs: list[list[Snapshot]] = field(default_factory=list)

    def last(self, figure: str) -> list[float]:
        """Returns the metric at the end of training, by seed."""
        return [run[-1].metrics[figure] for run in self.runs]


def main() -> None:
    """Trains, prints a table, plots and writes the JSON."""
    made = parser(__doc__)
    made.add_argument("--tried", nargs="*", metavar="NAME", help="also train the rejected alternatives: all, or these")
    made.add_argument("--models", nargs="+", choices=RATIOS, default=list(RATIOS))
    made.add_argument("--seconds", type=float, help="training time of every GAN; a VAE gets half of it")
    made.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    made.add_argument(
        "--plots", type=Path, metavar="FOLDER", help="folder for plots of quality against seconds, and image grids"
    )
    given = parse(made, seeds=[0], tried=["conditional"])
    plots = given.plots and given.plots.resolve()
    with cloned(tiny=given.tiny) as [clone]:
        if given.tiny:
            plots = clone / "plots"
        clone.ingest("fashion-mnist")
        clone.make("preprocess", "reference")
        os.chdir(clone.path)
        params = load_params()
        mode = prepare(params)
        trainings = Trainings(params, mode, calibration=0.2 if given.tiny else CALIBRATION)
        device = mode.device.type
        results = list(planned(device, given))
        run(trainings, results, OURS[device], plots)
        rows = [*table(results), *required(results, device, given), *evaluator_rows(trainings)]
        os.chdir(ROOT)
        if plots:
            draw(results, plots / "recipes.png")
    publish(rows, given.json)


def planned(device: str, given: argparse.Namespace) -> Iterator[Result]:
    """Yields what to train: our preset and `classic`, on a GPU our preset as committed, then the alternatives."""
    ours, first, tried = OURS[device], given.seeds[:1], given.tried
    times = {model: given.seconds and given.seconds * SHARES[model] for model in given.models}
    small = {model: tiny(model) if given.tiny else {} for model in given.models}
    if device == "cuda" and given.seconds is None:
        times = {model: 1.0 if given.tiny else ON_A_GPU[model] for model in given.models}
        yield from (Result(Recipe(model, ours, changes=small[model]), first) for model in times)
    for model, each in times.items():
        yield from (Result(Recipe(model, preset, each, small[model]), given.seeds) for preset in (ours, "classic"))
    for model in given.models if tried is not None else ():
        for name, changes in TRIED[model].items():
            if not tried or name in tried:
                yield Result(Recipe(model, ours, times[model], small[model] | changes, name), first)


def tiny(model: Model) -> dict[str, object]:
    """Returns the smallest sizes, as changes of a recipe; so few steps end before diagnostics begin."""
    section = f"train_{model}."
    sizes = {name.removeprefix(section): value for name, value in TINY.items() if name.startswith(section)}
    return sizes | {"batch": 64, "stop.n_images": 1280}


def run(trainings: Trainings, results: list[Result], ours: str, plots: Path | None) -> None:
    """Trains seed by seed, so that other load on the machine affects all alike; writes grids of each first seed."""
    took: dict[Model, float] = {}
    for number in range(max(len(result.seeds) for result in results)):
        for result in results:
            if number == len(result.runs) < len(result.seeds):
                recipe, seed = result.recipe, result.seeds[number]
                committed = recipe.seconds is None and recipe.label == ours
                seconds = None if committed else recipe.seconds or took[recipe.model]
                snapshots, images = trainings.train(recipe, seed, seconds)
                if committed:
                    took[recipe.model] = snapshots[-1].seconds
                result.runs.append(snapshots)
                print(f"{recipe}, seed {seed}: {described(snapshots[-1])}", flush=True)
                if plots and not number:
                    write_png(plots / "recipes" / f"{recipe.name}.png", grid(images, SIDE))


def described(snapshot: Snapshot) -> str:
    """Describes a snapshot in one line."""
    metrics = ", ".join(f"{name} {snapshot.metrics[name]:.3g}" for name in METRICS)
    return f"{metrics}; {snapshot.n_images:,} images in {snapshot.seconds:.0f} s"


def table(results: list[Result]) -> list[Row]:
    """Returns the metrics at the end: medians over the seeds, and for the distance least and most."""
    rows = []
    for result in results:
        distances = result.last("fd_relative")
        rows.append(Row(f"{result.recipe}: fd_relative", statistics.median(distances), f"of {len(distances)}"))
        if len(distances) > 1:
            rows += [Row("    least", min(distances)), Row("    most", max(distances))]
        rows += [Row(f"    {name}", statistics.median(result.last(name))) for name in METRICS[1:]]
        if UNFITTED in result.runs[0][-1].metrics:
            rows.append(Row("    fd_relative without the fitted prior", statistics.median(result.last(UNFITTED))))
        rows.append(Row("    seen", statistics.median(snapshots[-1].n_images for snapshots in result.runs), "images"))
        rows.append(Row("    took", statistics.median(snapshots[-1].seconds for snapshots in result.runs), "s"))
    return rows


def required(results: list[Result], device: str, given: argparse.Namespace) -> list[Row]:
    """Returns the bounds: of `quick` as committed on a CPU, of `full` against `classic` on a GPU."""

    def last(model: Model, preset: str, figure: str = "fd_relative") -> float:
        found = [r for r in results if (r.recipe.model, r.recipe.label) == (model, preset) and len(r.seeds) == longest]
        return statistics.median(found[-1].last(figure))

    longest, ours = max(len(result.seeds) for result in results), OURS[device]
    rows = []
    for model in given.models:
        ratio = last(model, ours) / last(model, "classic")
        rows.append(Row(f"{device}: {model.upper()}, {ours} / classic", ratio))
        here = ratio if device == "cuda" and given.seconds is None else None
        rows.append(at_most(f"cuda: {model.upper()}, full / classic", here, RATIOS[model]))
    committed = device == "cpu" and given.seconds is None
    if committed and "gan" in given.models:
        rows.append(at_most("cpu: GAN, fd_relative", last("gan", ours), 0.06))
        rows.append(at_least("cpu: GAN, coverage", last("gan", ours, "coverage"), 0.55))
    if committed and "vae" in given.models:
        rows.append(at_most("cpu: VAE, fd_relative", last("vae", ours), 0.10))
        share = last("vae", ours) / last("vae", ours, UNFITTED)
        rows.append(at_most("cpu: VAE, fitted prior / N(0, I)", share, 0.5))
    return rows


def evaluator_rows(trainings: Trainings) -> list[Row]:
    """Returns the checks of the evaluator, and the metrics of real training images."""
    evaluator = json.loads(Path("data/reference/evaluator.json").read_text(encoding="utf-8"))
    checks, floor = evaluator["checks"], real_floor(trainings.real, trainings.params.evaluate)
    corrupted = min(checks["blurred"], checks["missing_class"])
    return [
        *(Row(f"real training images: {name}", floor[name]) for name in METRICS),
        at_least("evaluator: accuracy", evaluator["accuracy"], 0.92),
        at_most("evaluator: distance of held-out images", checks["held_out"], 0.002),
        at_least("evaluator: distance of corrupted / held-out images", corrupted / checks["held_out"], 10),
    ]


def draw(results: list[Result], file: Path) -> None:
    """Plots quality against seconds: the median of the seeds, and their range where there are several."""
    figure = Figure(figsize=(11, 4.5), layout="constrained")
    models = sorted({result.recipe.model for result in results})
    for number, model in enumerate(models, start=1):
        axes = figure.add_subplot(1, len(models), number)
        for result in results:
            if result.recipe.model == model:
                draw_one(axes, result)
        axes.set(title=model.upper(), xlabel="seconds of training", yscale="log", ylabel="fd_relative (0 is perfect)")
        axes.yaxis.set(major_locator=LogLocator(subs=(1, 2, 5)), major_formatter="{x:g}", minor_formatter="")
        axes.grid(alpha=0.3, which="both")
        axes.legend(fontsize=8)
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=110)


def draw_one(axes: Axes, result: Result) -> None:
    """Plots a recipe's line, thin for a rejected alternative."""
    seconds = np.median([[snapshot.seconds for snapshot in snapshots] for snapshots in result.runs], axis=0)
    values = np.array([[snapshot.metrics["fd_relative"] for snapshot in snapshots] for snapshots in result.runs])
    width = 0.9 if result.recipe.change else 2.4
    (line,) = axes.plot(
        seconds, np.median(values, axis=0), marker="o", markersize=3, linewidth=width, label=result.recipe.label
    )
    if len(values) > 1:
        axes.fill_between(seconds, values.min(0), values.max(0), color=line.get_color(), alpha=0.2, linewidth=0)


if __name__ == "__main__":
    main()
