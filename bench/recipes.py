"""How good the presets are, and over what they were chosen: `python bench/recipes.py [--plots FOLDER] [--json FILE]`.

On Fashion-MNIST, three seeds each, with 2 cores `quick` as it is committed, with an NVIDIA GPU `full` for 60 s a GAN
and 40 s a VAE, and once as it is committed. The peer, in the same engine, is `classic`, the textbook's recipe, for the
wall-clock that ours took with that seed; the fit of a prior counts. How many images a recipe may see in a given time
follows from its own speed, measured first, and its schedules end with them. The clock stands still while the judge of
`quick` looks at what the averages draw, at a third, at two thirds and at the end. `--tried` adds, with one seed, the
changes that the presets were chosen over; `--seconds` makes all of it shorter.

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
from trainings import CALIBRATION, SIDE, Look, Model, Recipe, Trainings

sys.path.insert(0, str(ROOT))

from tasks.common.image_grid import grid, write_png
from tasks.common.params import load_params
from tasks.common.runtime import prepare
from tasks.evaluate.scores import real_floor

METRICS = ("fd_relative", "precision", "recall", "coverage")
UNFITTED = "fd_relative_standard_prior"  # of a VAE
OURS = {"cpu": "quick", "cuda": "full"}
ON_A_GPU: dict[Model, float] = {"gan": 60, "vae": 40}  # seconds
SHARES: dict[Model, float] = {"gan": 1, "vae": 0.5}  # of --seconds
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
        "labels told": {"conditional": "on"},
    },
    "vae": {
        "residual blocks": {"network": "residual"},
        "16 channels": {"channels": 16},
        "a code of 32": {"latent": 32},
        "labels told": {"conditional": "on"},
    },
}


@dataclass
class Result:
    """A recipe, its seeds, and the looks at each of their trainings."""

    recipe: Recipe
    seeds: list[int]
    runs: list[list[Look]] = field(default_factory=list)

    def last(self, figure: str) -> list[float]:
        """The figure at the end, by seed."""
        return [run[-1].figures[figure] for run in self.runs]


def main() -> None:
    """Trains, prints a table, draws the plots and writes the JSON."""
    made = parser(__doc__)
    made.add_argument("--tried", nargs="*", metavar="NAME", help="also what was tried; all of it, or these changes")
    made.add_argument("--models", nargs="+", choices=RATIOS, default=list(RATIOS))
    made.add_argument("--seconds", type=float, help="of every GAN; a VAE gets half of it")
    made.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    made.add_argument("--plots", type=Path, metavar="FOLDER", help="where to draw quality against seconds, and grids")
    given = parse(made, seeds=[0], tried=["labels told"])
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
    """What will be trained: ours and the textbook's, on a GPU ours as committed, then what was tried."""
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
    """The smallest sizes, as changes of a recipe, and too few steps for the watch to see a training go wrong."""
    section = f"train_{model}."
    sizes = {name.removeprefix(section): value for name, value in TINY.items() if name.startswith(section)}
    return sizes | {"batch": 64, "stop.n_images": 1280}


def run(trainings: Trainings, results: list[Result], ours: str, plots: Path | None) -> None:
    """Seed by seed, so that what else the machine does falls on all alike; a grid of each recipe's first seed."""
    took: dict[Model, float] = {}
    for number in range(max(len(result.seeds) for result in results)):
        for result in results:
            if number == len(result.runs) < len(result.seeds):
                recipe, seed = result.recipe, result.seeds[number]
                committed = recipe.seconds is None and recipe.label == ours
                seconds = None if committed else recipe.seconds or took[recipe.model]
                looks, images = trainings.train(recipe, seed, seconds)
                if committed:
                    took[recipe.model] = looks[-1].seconds
                result.runs.append(looks)
                print(f"{recipe}, seed {seed}: {told(looks[-1])}", flush=True)
                if plots and not number:
                    write_png(plots / "recipes" / f"{recipe.name}.png", grid(images, SIDE))


def told(look: Look) -> str:
    """A look in a line."""
    figures = ", ".join(f"{name} {look.figures[name]:.3g}" for name in METRICS)
    return f"{figures}; {look.n_images:,} images in {look.seconds:.0f} s"


def table(results: list[Result]) -> list[Row]:
    """The figures at the end: medians over the seeds, and of the distance its span."""
    rows = []
    for result in results:
        distances = result.last("fd_relative")
        rows.append(Row(f"{result.recipe}: fd_relative", statistics.median(distances), f"of {len(distances)}"))
        if len(distances) > 1:
            rows += [Row("    least", min(distances)), Row("    most", max(distances))]
        rows += [Row(f"    {name}", statistics.median(result.last(name))) for name in METRICS[1:]]
        if UNFITTED in result.runs[0][-1].figures:
            rows.append(Row("    fd_relative without the fitted prior", statistics.median(result.last(UNFITTED))))
        rows.append(Row("    seen", statistics.median(looks[-1].n_images for looks in result.runs), "images"))
        rows.append(Row("    took", statistics.median(looks[-1].seconds for looks in result.runs), "s"))
    return rows


def required(results: list[Result], device: str, given: argparse.Namespace) -> list[Row]:
    """Bounds of `quick` as committed on a CPU, and of ours against the textbook's on a GPU; None elsewhere."""

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
    """Whether the judge is fit to judge, and what real training images score."""
    evaluator = json.loads(Path("data/reference/evaluator.json").read_text(encoding="utf-8"))
    checks, floor = evaluator["checks"], real_floor(trainings.real, trainings.params.evaluate)
    corrupted = min(checks["blurred"], checks["missing_class"])
    return [
        *(Row(f"real training images: {name}", floor[name]) for name in METRICS),
        at_least("judge: accuracy", evaluator["accuracy"], 0.92),
        at_most("judge: held-out images", checks["held_out"], 0.002),
        at_least("judge: spoilt / held-out images", corrupted / checks["held_out"], 10),
    ]


def draw(results: list[Result], file: Path) -> None:
    """Quality against seconds: the median of the seeds, and their span where there are several."""
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
    """A recipe's line, thin where it is something that was tried."""
    seconds = np.median([[look.seconds for look in looks] for looks in result.runs], axis=0)
    values = np.array([[look.figures["fd_relative"] for look in looks] for looks in result.runs])
    width = 0.9 if result.recipe.change else 2.4
    (line,) = axes.plot(
        seconds, np.median(values, axis=0), marker="o", markersize=3, linewidth=width, label=result.recipe.label
    )
    if len(values) > 1:
        axes.fill_between(seconds, values.min(0), values.max(0), color=line.get_color(), alpha=0.2, linewidth=0)


if __name__ == "__main__":
    main()
