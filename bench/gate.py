"""Whether the gate refuses what is worse and blesses what is not: `python bench/gate.py [--json FILE]`.

In a temporary clone of the last commit, on Fashion-MNIST. Live is `quick`'s GAN of seed 0. Trainings: the same recipe
with ten other seeds, and once with twice the images, each judged as `python -m tasks.gate` judges, on
`evaluate.n_images`; the spread of all eleven seeds says what the margin should be. Trials: the live model's own images
of other noise, as they are and spoilt, on fewer images each. Altered: every initialiser of the live bundle's .onnx, one
at a time, by 10 %.

Needs the checkout's .venv. Twelve trainings take an hour on two cores; `--trained FOLDER` keeps what they export, and
takes what is there already. The trials take most of another.
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
from trials import KINDS, seen_as, trials

sys.path.insert(0, str(ROOT))

from tasks.common.params import Params, load_params
from tasks.common.runtime import limit_threads
from tasks.evaluate.sampling import Sampling
from tasks.export.session import session
from tasks.gate.bundles import LoadedBundle
from tasks.gate.decision import Decision, decide
from tasks.reference.statistics import ReferenceStatistics, load_statistics_of_both

SEEDS = range(1, 11)
TWICE = "twice"


def main() -> None:
    """Measures, prints a table and writes the JSON."""
    made = parser(__doc__)
    made.add_argument("--trials", type=int, default=100)
    made.add_argument("--images", type=int, default=2000, help="that a trial looks at, on either side")
    made.add_argument("--draws", type=int, default=100, help="resamplings of a trial's images")
    made.add_argument("--trained", type=Path, metavar="FOLDER", help="where exported trainings are kept")
    made.add_argument("--n-images", type=int, help="that each training sees; the recipe's own number unless told")
    made.add_argument("--kinds", nargs="*", choices=KINDS, default=list(KINDS), help="trials to do; all of them")
    made.add_argument("--skip-trainings", action="store_true", help="the trials and the altered files alone")
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
            rows += told_at_once(trials(kind, live, given))
        rows += told_at_once(altered(clone))
        os.chdir(ROOT)
    publish(rows, given.json)


def told_at_once(rows: Iterator[Row]) -> list[Row]:
    """The rows, printed as they come: the table is far off."""
    found = list(rows)
    for row in found:
        print(f"{row.figure}: {row.value} {row.unit}", flush=True)
    return found


def make_live(clone: Checkout, trained: Path) -> Path:
    """The two judges, and the live bundle of seed 0, in data/bundle/gan; returns its .onnx file."""
    clone.ingest("fashion-mnist")
    clone.make("preprocess", "reference", "reference_second")
    file = export(clone, trained, "0", {})
    (clone / "data/onnx/gan").mkdir(parents=True, exist_ok=True)
    shutil.copyfile(file, clone / "data/onnx/gan/gan.onnx")
    clone.run_stages("tasks.evaluate gan", "tasks.bundle gan")
    return clone / "data/bundle/gan/gan.onnx"


def make_others(clone: Checkout, trained: Path, seeds: Sequence[int]) -> None:
    """The live model's recipe with other seeds, and with twice the images."""
    for seed in seeds:
        export(clone, trained, str(seed), {"train_gan.seed": seed})
    images = load_params(clone / "params.yaml").train_gan.stop.n_images
    export(clone, trained, TWICE, {"train_gan.seed": len(seeds) + 1, "train_gan.stop.n_images": 2 * images})


def export(clone: Checkout, trained: Path, name: str, changes: dict[str, object]) -> Path:
    """Trains and exports, unless the file is there."""
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
    """The decisions about trainings of other seeds and of twice the images, and the margin that the seeds ask for."""
    params = load_params()
    limit_threads(params.threads)
    references = load_statistics_of_both(params.evaluate)
    names = ["0", *map(str, seeds), TWICE]
    seen = {name: look_at(trained / f"gan-{name}.onnx", references, params) for name in names}
    blessed = {name: told(name, decide(seen[name], seen["0"], params.gate, 0)) for name in names[1:]}
    same = sum(blessed[str(seed)] for seed in seeds)
    first, second = (
        [one.first.figures["fd_relative"] for name, one in seen.items() if name != TWICE],
        [one.second.figures["fd_relative"] for name, one in seen.items() if name != TWICE and one.second],
    )
    return [
        at_least("the same recipe, other seeds, blessed", same, len(seeds) - 1, f"of {len(seeds)}"),
        *spread("first judge", first, params.gate.margin.fd_relative),
        *spread("second judge", second, params.gate.margin.fd_relative_second),
        at_least("twice the training, blessed", float(blessed[TWICE]), 1, "of 1"),
        Row("    its fd_relative / live", seen[TWICE].first.figures["fd_relative"] / first[0], "times"),
    ]


def spread(evaluator: str, distances: list[float], margin: float) -> Iterator[Row]:
    """What training again moves: two trainings differ by sqrt(2) deviations, and the margin is twice that."""
    deviation = statistics.stdev(np.log(distances))
    yield Row(f"    {evaluator}: fd_relative, the median of {len(distances)} seeds", statistics.median(distances))
    yield Row(f"    {evaluator}: deviation by seed", 100 * deviation, "%")
    yield Row(f"    {evaluator}: the worst seed / the best", max(distances) / min(distances), "times")
    yield Row(f"    {evaluator}: the margin that asks for", float(np.expm1(2 * np.sqrt(2) * deviation)))
    yield Row(f"    {evaluator}: the margin that is set", margin)


def told(name: str, decision: Decision) -> bool:
    """Prints the decision and returns whether it blesses."""
    ratio = next(one.interval for one in decision.comparisons if one.figure == "fd_relative")
    print(
        f"{name}: {ratio.estimate:.3f} ({ratio.low:.3f} to {ratio.high:.3f}) {decision.reasons or 'blessed'}",
        flush=True,
    )
    return decision.blessed


def look_at(file: Path, references: tuple[ReferenceStatistics, ReferenceStatistics], params: Params) -> LoadedBundle:
    """A file's images as both judges see them."""
    drawing = Sampling(session(file, params.threads), params.evaluate, [])
    return seen_as(drawing(np.arange(params.evaluate.n_images)), references, params)


def altered(clone: Checkout) -> Iterator[Row]:
    """Every floating-point initialiser of the live bundle that is not 0, times 1.1, before `python -m tasks.gate`."""
    bundle, copy = clone / "data/bundle/gan", clone / "data/bundle/altered"
    weights = onnx.load(bundle / "gan.onnx").graph.initializer
    some = [one for one in weights if one.data_type == onnx.TensorProto.FLOAT]
    names = [one.name for one in some if numpy_helper.to_array(one).any()][: 1 if clone.tiny else None]
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
