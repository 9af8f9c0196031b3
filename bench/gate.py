"""Measures how often the gate refuses worse models and accepts others: `python bench/gate.py [--json FILE]`.

It runs in a temporary clone of the last commit, on Fashion-MNIST. The live model is `quick`'s GAN with seed 0. There
are three kinds of candidates. Trainings: the same recipe with ten other seeds, and once with twice the images,
compared as `python -m tasks.gate` does, on `evaluate.n_images`; the spread of the eleven seeds gives the margin.
Trials: the live model's images from other noise, unchanged or corrupted, with fewer images each. Altered files: every
initialiser of the live bundle's .onnx, one at a time, changed by 10 %.

Needs the checkout's .venv. Twelve trainings take an hour on two cores; `--trained FOLDER` keeps the exported files and
reuses those that are there. The trials take most of another hour.
"""

import os
import shutil
import statistics
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
from arguments import parse, parser
from checkouts import ROOT, Checkout, cloned
from onnx import numpy_helper
from rows import Row, at_least, publish
from trials import KINDS, measured_bundle, trials

sys.path.insert(0, str(ROOT))

from tasks.common.params import Params, load_params
from tasks.common.runtime import limit_threads
from tasks.evaluate.sampling import ExportedGenerator
from tasks.export.session import session
from tasks.gate.bundles import BundleEvaluation
from tasks.gate.decision import decide
from tasks.gate.record import GateDecision
from tasks.reference.statistics import ReferenceStatistics, load_statistics_of_both

SEEDS = range(1, 11)
TWICE = "twice"


def main() -> None:
    """Measures, prints a table and writes the JSON."""
    made = parser(__doc__)
    made.add_argument("--trials", type=int, default=100)
    made.add_argument("--images", type=int, default=2000, help="images of a trial, on either side")
    made.add_argument("--resamplings", type=int, default=100, help="bootstrap resamplings of a trial's images")
    made.add_argument("--trained", type=Path, metavar="FOLDER", help="folder for the exported files")
    made.add_argument("--n-images", type=int, help="images of each training; by default the recipe's own number")
    made.add_argument("--kinds", nargs="*", choices=KINDS, default=list(KINDS), help="kinds of trials; by default all")
    made.add_argument("--skip-trainings", action="store_true", help="run only the trials and the altered files")
    given = parse(made, trials=2, images=200, kinds=["itself", "half of the labels", "replay"])
    with cloned(tiny=given.tiny) as [clone], TemporaryDirectory() as spare:
        trained = (given.trained or Path(spare)).resolve()
        if given.n_images:
            clone.set_params({"train_gan.stop.n_images": given.n_images})
        live, seeds = make_live(clone, trained), SEEDS[: 1 if given.tiny else None]
        if not given.skip_trainings:
            make_others(clone, trained, seeds)
        os.chdir(clone.path)
        rows = [] if given.skip_trainings else trainings(trained, seeds)
        for kind in given.kinds:
            rows += printed(trials(kind, live, given))
        rows += printed(altered(clone))
        os.chdir(ROOT)
    publish(rows, given.json)


def printed(rows: Iterator[Row]) -> list[Row]:
    """Prints the rows as they come, since the table is printed much later, and returns them."""
    found = list(rows)
    for row in found:
        print(f"{row.figure}: {row.value} {row.unit}", flush=True)
    return found


def make_live(clone: Checkout, trained: Path) -> Path:
    """Makes the two evaluators and the live bundle of seed 0 in data/bundle/gan; returns its .onnx file."""
    clone.ingest("fashion-mnist")
    clone.make("preprocess", "reference", "reference_second")
    file = export(clone, trained, "0", {})
    (clone / "data/onnx/gan").mkdir(parents=True, exist_ok=True)
    shutil.copyfile(file, clone / "data/onnx/gan/gan.onnx")
    clone.run_stages("tasks.evaluate gan", "tasks.bundle gan")
    return clone / "data/bundle/gan/gan.onnx"


def make_others(clone: Checkout, trained: Path, seeds: Sequence[int]) -> None:
    """Trains the live model's recipe with other seeds, and with twice the images."""
    for seed in seeds:
        export(clone, trained, str(seed), {"train_gan.seed": seed})
    images = load_params(clone / "params.yaml").train_gan.stop.n_images
    export(clone, trained, TWICE, {"train_gan.seed": len(seeds) + 1, "train_gan.stop.n_images": 2 * images})


def export(clone: Checkout, trained: Path, name: str, changes: dict[str, object]) -> Path:
    """Trains and exports a GAN, unless its file is there; returns the file."""
    file = trained / f"gan-{name}.onnx"
    if not file.is_file():
        before = (clone / "params.yaml").read_bytes()
        clone.set_params(changes)
        clone.run_stages("tasks.train.gan", "tasks.export gan")
        (clone / "params.yaml").write_bytes(before)
        trained.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(clone / "data/onnx/gan/gan.onnx", file)
        print(f"trained {file.name}", flush=True)
    return file


def trainings(trained: Path, seeds: Sequence[int]) -> list[Row]:
    """Decides on the trainings with other seeds and twice the images; computes the margin from the seeds."""
    params = load_params()
    limit_threads(params.threads)
    references = load_statistics_of_both(params.evaluate)
    names = ["0", *map(str, seeds), TWICE]
    bundles = {name: load(trained / f"gan-{name}.onnx", references, params) for name in names}
    blessed = {name: blessed_by(name, decide(bundles[name], bundles["0"], params.gate, 0)) for name in names[1:]}
    same = sum(blessed[str(seed)] for seed in seeds)
    first, second = (
        [one.first.metrics["fd_relative"] for name, one in bundles.items() if name != TWICE],
        [one.second.metrics["fd_relative"] for name, one in bundles.items() if name != TWICE and one.second],
    )
    return [
        at_least("the same recipe, other seeds, blessed", same, len(seeds) - 1, f"of {len(seeds)}"),
        *spread("first evaluator", first, params.gate.margin.fd_relative),
        *spread("second evaluator", second, params.gate.margin.fd_relative_second),
        at_least("twice the training, blessed", float(blessed[TWICE]), 1, "of 1"),
        Row("    its fd_relative / live", bundles[TWICE].first.metrics["fd_relative"] / first[0], "times"),
    ]


def spread(evaluator: str, distances: list[float], margin: float) -> Iterator[Row]:
    """Yields the spread by seed; the difference of two seeds has sqrt(2) deviations, and the margin is twice that."""
    deviation = statistics.stdev(np.log(distances))
    yield Row(f"    {evaluator}: fd_relative, the median of {len(distances)} seeds", statistics.median(distances))
    yield Row(f"    {evaluator}: deviation by seed", 100 * deviation, "%")
    yield Row(f"    {evaluator}: the worst seed / the best", max(distances) / min(distances), "times")
    yield Row(f"    {evaluator}: the margin that this gives", float(np.expm1(2 * np.sqrt(2) * deviation)))
    yield Row(f"    {evaluator}: the margin that is set", margin)


def blessed_by(name: str, decision: GateDecision) -> bool:
    """Prints the decision and returns whether it accepts the candidate."""
    ratio = decision.comparisons["fd_relative"]
    print(
        f"{name}: {ratio.estimate:.3f} ({ratio.low:.3f} to {ratio.high:.3f}) {decision.reasons or 'blessed'}",
        flush=True,
    )
    return decision.passed


def load(file: Path, references: tuple[ReferenceStatistics, ReferenceStatistics], params: Params) -> BundleEvaluation:
    """Generates images with a file and returns what the gate needs of them."""
    generate = ExportedGenerator(session(file, params.threads), params.evaluate, [])
    return measured_bundle(generate.gather(np.arange(params.evaluate.n_images)), references, params)


def altered(clone: Checkout) -> Iterator[Row]:
    """Multiplies each nonzero float initialiser of the live bundle by 1.1 and runs `python -m tasks.gate` on it."""
    bundle, copy = clone / "data/bundle/gan", clone / "data/bundle/altered"
    weights = onnx.load(bundle / "gan.onnx").graph.initializer
    floats = [one for one in weights if one.data_type == onnx.TensorProto.FLOAT]
    names = [one.name for one in floats if numpy_helper.to_array(one).any()][: 1 if clone.tiny else None]
    refused = 0
    for name in names:
        shutil.copytree(bundle, copy)
        alter(copy / "gan.onnx", name)
        done = clone.python("-m", "tasks.gate", str(copy), "--live", str(bundle))
        refused += done.returncode == 1 and "bundle:" in done.stdout
        shutil.rmtree(copy)
    yield at_least("one initialiser altered by 10 %, refused", refused, len(names), f"of {len(names)}")


def alter(file: Path, name: str) -> None:
    """Multiplies one initialiser by 1.1."""
    model = onnx.load(file)
    tensor = next(one for one in model.graph.initializer if one.name == name)
    tensor.CopyFrom(numpy_helper.from_array(np.float32(1.1) * numpy_helper.to_array(tensor), name))
    onnx.save(model, file)


if __name__ == "__main__":
    main()
