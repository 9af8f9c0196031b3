"""Whether the gate refuses what is worse and blesses what is not: `python bench/gate.py [--json FILE]`.

In a temporary clone of the last commit, on Fashion-MNIST. Live is `quick`'s GAN of seed 0. Trainings: the same recipe
with ten other seeds, and once with twice the images, each judged as `python -m tasks.gate` judges, on
`evaluate.n_images`; the spread of all eleven seeds says what the margin should be. Trials: the live model's own images
of other noise, as they are and spoilt, on fewer images each. Altered: every initialiser of the live bundle's .onnx, one
at a time, by 10 %.

Needs the checkout's .venv. Twelve trainings take an hour on two cores; `--trained FOLDER` keeps what they export, and
takes what is there already. The trials take most of another.
"""

import argparse
import os
import shutil
import statistics
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
from checkouts import ROOT, Checkout, cloned
from onnx import numpy_helper
from rows import Row, at_least, at_most, publish

sys.path.insert(0, str(ROOT))

from tasks.evaluate.drawing import Drawing
from tasks.gate.bundles import Judged, View
from tasks.gate.decision import Decision, decide
from tasks.metrics.frechet import Moments
from tasks.onnx_session import session
from tasks.params import Params, load_params, read_params
from tasks.prepared import open_prepared
from tasks.reference.spoil import blur, fade
from tasks.runtime import limit_threads
from tasks.scores import among, memorised, rarest_label, relative_distance
from tasks.yardstick import Yardstick, load_yardsticks

SEEDS = range(1, 11)
TWICE = "twice"
LABELS = 10
LIVE_SEED = 1_000_000  # from which on the noise of the live model in trials is numbered
WITHIN = 0.02  # of a distance that is aimed at


def main() -> None:
    """Measures, prints a table and writes the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--images", type=int, default=2000, help="that a trial looks at, on either side")
    parser.add_argument("--draws", type=int, default=100, help="resamplings of a trial's images")
    parser.add_argument("--trained", type=Path, metavar="FOLDER", help="where exported trainings are kept")
    parser.add_argument("--n-images", type=int, help="that each training sees; the recipe's own number unless told")
    parser.add_argument("--kinds", nargs="*", choices=KINDS, default=list(KINDS), help="trials to do; all of them")
    parser.add_argument("--skip-trainings", action="store_true", help="the trials and the altered files alone")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    file = given.json and given.json.resolve()
    with cloned() as [clone], TemporaryDirectory() as spare:
        trained = (given.trained or Path(spare)).resolve()
        if given.n_images:
            clone.set_params({"train_gan.stop.n_images": given.n_images})
        live = make_live(clone, trained)
        if not given.skip_trainings:
            make_others(clone, trained)
        os.chdir(clone.path)
        rows = [] if given.skip_trainings else trainings(trained)
        for kind in given.kinds:
            rows += told_at_once(trials(kind, live, given))
        rows += told_at_once(altered(clone))
        os.chdir(ROOT)
    publish(rows, file)


def told_at_once(rows: Iterator[Row]) -> list[Row]:
    """The rows, printed as they come: the table is far off."""
    found = list(rows)
    for row in found:
        print(f"{row.figure}: {row.value} {row.unit}", flush=True)
    return found


def make_live(clone: Checkout, trained: Path) -> Path:
    """The two judges, and the live bundle of seed 0, in data/bundle/gan; returns its .onnx file."""
    clone.must("-m", "tasks.ingest", "fashion-mnist")
    clone.must("-m", "dvc", "--wait-for-lock", "repro", "reference", "reference_second")
    file = export(clone, trained, "0", {})
    (clone / "data/onnx/gan").mkdir(parents=True, exist_ok=True)
    shutil.copyfile(file, clone / "data/onnx/gan/gan.onnx")
    clone.must("-m", "tasks.evaluate", "gan")
    clone.must("-m", "tasks.bundle", "gan")
    return clone / "data/bundle/gan/gan.onnx"


def make_others(clone: Checkout, trained: Path) -> None:
    """The live model's recipe with other seeds, and with twice the images."""
    for seed in SEEDS:
        export(clone, trained, str(seed), {"train_gan.seed": seed})
    images = read_params(clone / "params.yaml").train_gan.stop.n_images
    export(clone, trained, TWICE, {"train_gan.seed": len(SEEDS) + 1, "train_gan.stop.n_images": 2 * images})


def export(clone: Checkout, trained: Path, name: str, changes: dict[str, object]) -> Path:
    """Trains and exports, unless the file is there."""
    file = trained / f"gan-{name}.onnx"
    if not file.is_file():
        before = (clone / "params.yaml").read_bytes()
        clone.set_params(changes)
        clone.must("-m", "tasks.train.gan")
        clone.must("-m", "tasks.export", "gan")
        (clone / "params.yaml").write_bytes(before)
        trained.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(clone / "data/onnx/gan/gan.onnx", file)
        print(f"trained {file.name}", flush=True)
    return file


def trainings(trained: Path) -> list[Row]:
    """The decisions about trainings of other seeds and of twice the images, and the margin that the seeds ask for."""
    params = load_params()
    limit_threads(params.threads)
    yardsticks = load_yardsticks(params.evaluate)
    names = ["0", *map(str, SEEDS), TWICE]
    seen = {name: look_at(trained / f"gan-{name}.onnx", yardsticks, params) for name in names}
    blessed = {name: told(name, decide(seen[name], seen["0"], params.gate, 0)) for name in names[1:]}
    first, second = (
        [one.first.figures["fd_relative"] for name, one in seen.items() if name != TWICE],
        [one.second.figures["fd_relative"] for name, one in seen.items() if name != TWICE and one.second],
    )
    return [
        at_least("the same recipe, other seeds, blessed", sum(blessed[str(seed)] for seed in SEEDS), 9, "of 10"),
        *spread("first judge", first, params.gate.margin.fd_relative),
        *spread("second judge", second, params.gate.margin.fd_relative_second),
        at_least("twice the training, blessed", float(blessed[TWICE]), 1, "of 1"),
        Row("    its fd_relative / live", seen[TWICE].first.figures["fd_relative"] / first[0], "times"),
    ]


def spread(judge: str, distances: list[float], margin: float) -> Iterator[Row]:
    """What training again moves: two trainings differ by sqrt(2) deviations, and the margin is twice that."""
    deviation = statistics.stdev(np.log(distances))
    yield Row(f"    {judge}: fd_relative, the median of {len(distances)} seeds", statistics.median(distances))
    yield Row(f"    {judge}: deviation by seed", 100 * deviation, "%")
    yield Row(f"    {judge}: the worst seed / the best", max(distances) / min(distances), "times")
    yield Row(f"    {judge}: the margin that asks for", float(np.expm1(2 * np.sqrt(2) * deviation)))
    yield Row(f"    {judge}: the margin that is set", margin)


def told(name: str, decision: Decision) -> bool:
    """Prints the decision and returns whether it blesses."""
    ratio = next(one.interval for one in decision.comparisons if one.figure == "fd_relative")
    print(
        f"{name}: {ratio.estimate:.3f} ({ratio.low:.3f} to {ratio.high:.3f}) {decision.reasons or 'blessed'}",
        flush=True,
    )
    return decision.blessed


def look_at(file: Path, yardsticks: tuple[Yardstick, Yardstick], params: Params) -> Judged:
    """A file's images as both judges see them."""
    drawing = Drawing(session(file, params.threads), params.evaluate, [])
    return seen_as(drawing(np.arange(params.evaluate.n_images)), yardsticks, params)


def seen_as(images: np.ndarray, yardsticks: tuple[Yardstick, Yardstick], params: Params) -> Judged:
    """Images uint8 as both judges see them, with the figures that a decision needs."""
    first, second = (seen_by(one, images, params) for one in yardsticks)
    near, real = memorised(first.features, yardsticks[0].real), yardsticks[0].real
    rarest = rarest_label(yardsticks[0].judge, first.features, real)
    assert rarest is not None
    first.figures.update({"memorised": near.share, "label_share": rarest[1]})
    return Judged(Path("bench"), "gan", "", first, second, near, f"label {rarest[0]}", images[:1])


def seen_by(yardstick: Yardstick, images: np.ndarray, params: Params) -> View:
    """As `tasks.gate.bundles.view` has it, without what no decision rests on."""
    features = yardstick.judge.features(images)
    members = among(features, yardstick.real, params.evaluate)
    figures = {
        "fd_relative": relative_distance(features, yardstick.real),
        "precision": float(members.precise.mean()),
        "coverage": float(members.covered.mean()),
    }
    return View(yardstick, features, figures, members)


# Trials: each has noise of its own on either side. A live model whose few draws stood beside many candidates would let
# one lucky draw count many times.

Spoil = Callable[["Trial", np.ndarray], np.ndarray]  # images uint8 [n, C, H, W] to images


@dataclass
class Trial:
    """What a process needs for its trials; one per process."""

    params: Params
    yardsticks: tuple[Yardstick, Yardstick]
    live: Path
    number: int = 0

    def drawn(self, seed: int, count: int) -> np.ndarray:
        """So many of the live model's images."""
        settings = self.params.evaluate.model_copy(update={"seed": seed, "n_images": count})
        return Drawing(session(self.live, 1), settings, [])(np.arange(count))

    @cached_property
    def beside(self) -> Judged:
        """The live model's images of other noise."""
        images = self.drawn(LIVE_SEED + self.number, self.params.evaluate.n_images)
        return seen_as(images, self.yardsticks, self.params)

    def of_labels(self, kept: set[int]) -> np.ndarray:
        """Images that the first judge sees one of these labels in."""
        count, judge, found = self.params.evaluate.n_images, self.yardsticks[0].judge, list[np.ndarray]()
        for part in range(100):
            images = self.drawn(10_000 + 100 * self.number + part, count)
            labels = judge.labels(judge.features(images))
            assert labels is not None
            found.append(images[np.isin(labels, list(kept))])
            if sum(map(len, found)) >= count:
                break
        return np.concatenate(found)[:count]


def half_of_the_labels(trial: Trial, _: np.ndarray) -> np.ndarray:
    """Five labels of ten, others each time."""
    return trial.of_labels(set(np.random.default_rng(trial.number).permutation(LABELS)[: LABELS // 2].tolist()))


def replayed(trial: Trial, _: np.ndarray) -> np.ndarray:
    """Training images."""
    train = open_prepared().split("train")
    rows = np.random.default_rng(trial.number).permutation(len(train))[: trial.params.evaluate.n_images]
    return train.gather(np.sort(rows))


def twice_the_margin_worse(trial: Trial, images: np.ndarray) -> np.ndarray:
    """Blended with their blur so far that the relative distance is 1 + 2 x margin times what it is."""
    first, softened = trial.yardsticks[0], blur(images).astype(np.float32)

    def blended(share: float) -> np.ndarray:
        mixed: np.ndarray = np.rint((1 - share) * images + share * softened).astype(np.uint8)
        return mixed

    def distance(share: float) -> float:
        return relative_distance(first.judge.features(blended(share)), first.real)

    aim = (1 + 2 * trial.params.gate.margin.fd_relative) * trial.beside.first.figures["fd_relative"]
    low, high = 0.0, 1.0
    while abs(distance((low + high) / 2) / aim - 1) > WITHIN:
        low, high = ((low + high) / 2, high) if distance((low + high) / 2) < aim else (low, (low + high) / 2)
    return blended((low + high) / 2)


KINDS: dict[str, Spoil] = {
    "itself": lambda trial, images: images,
    "blur": lambda trial, images: blur(images, 1.0),
    "a class missing": lambda trial, images: trial.of_labels(set(range(LABELS)) - {trial.number % LABELS}),
    "half of the labels": half_of_the_labels,
    "replay": replayed,
    "contrast": lambda trial, images: fade(images, 0.7),
    "twice the margin": twice_the_margin_worse,
}
RIGHT: dict[str, tuple[str, ...]] = {  # what a reason must name, any of them
    "blur": ("fd_relative",),
    "a class missing": ("fd_relative", "coverage", "label_share"),
    "half of the labels": ("fd_relative", "coverage", "label_share"),
    "replay": ("memoris",),
    "contrast": ("fd_relative",),
    "twice the margin": ("fd_relative",),
}
_trial: Trial


def start(live: Path, images: int, draws: int) -> None:
    """Makes a process ready for trials."""
    global _trial
    limit_threads(1)
    params = load_params()
    evaluate = params.evaluate.model_copy(update={"n_images": images})
    params = params.model_copy(update={"evaluate": evaluate, "gate": params.gate.model_copy(update={"draws": draws})})
    first, second = (fewer(one, images) for one in load_yardsticks(evaluate))
    _trial = Trial(params, (first, second), live)


def fewer(yardstick: Yardstick, images: int) -> Yardstick:
    """The same with as many test images as a trial has generated ones."""
    real = yardstick.real
    labels = None if real.test_labels is None else real.test_labels[:images]
    test = real.test[:images]
    less = replace(real, test=test, test_labels=labels, test_moments=Moments.of(test))
    return replace(yardstick, real=less)


def one_trial(kind: str, number: int) -> Decision:
    """The decision about the live model's images of noise `number`, spoilt, against those of other noise."""
    trial = replace(_trial, number=number)
    candidate = KINDS[kind](trial, trial.drawn(number, trial.params.evaluate.n_images))
    ours = seen_as(candidate, trial.yardsticks, trial.params)
    return decide(ours, trial.beside, trial.params.gate, number)


def trials(kind: str, live: Path, given: argparse.Namespace) -> Iterator[Row]:
    """The rows of one kind."""
    with ProcessPoolExecutor(os.cpu_count(), initializer=partial(start, live, given.images, given.draws)) as pool:
        decisions = []
        for decision in pool.map(partial(one_trial, kind), range(given.trials)):
            decisions.append(decision)
            if len(decisions) % 10 == 0:
                print(f"{kind}: {len(decisions)} of {given.trials}", flush=True)
    unit = f"of {given.trials}"
    if kind == "itself":
        worse = sum(any(one.verdict == "worse" for one in decision.comparisons) for decision in decisions)
        better = sum(lead(decision) == "better" for decision in decisions)
        yield at_most("itself, refused as worse", worse, given.trials // 20, unit)
        yield at_most("itself, called better", better, given.trials // 20, unit)
        yield Row("    not blessed", sum(not decision.blessed for decision in decisions), unit)
    else:
        names = RIGHT[kind]
        right = sum(any(name in reason for reason in one.reasons for name in names) for one in decisions)
        least = given.trials * (0.95 if kind == "twice the margin" else 1)
        yield at_least(f"{kind}, refused for the right reason", right, least, unit)
    found = Counter(cause(reason) for decision in decisions for reason in decision.reasons)
    yield from (Row(f"    {name}", count, unit) for name, count in found.most_common())


def lead(decision: Decision) -> str:
    """The verdict on the figure that decides."""
    return next(one.verdict for one in decision.comparisons if one.figure == "fd_relative")


def cause(reason: str) -> str:
    """A reason without its numbers."""
    return "limit: label_share" if "label_share" in reason else " ".join(reason.split()[:2])


def altered(clone: Checkout) -> Iterator[Row]:
    """Every floating-point initialiser of the live bundle that is not 0, times 1.1, before `python -m tasks.gate`."""
    bundle, copy = clone / "data/bundle/gan", clone / "data/bundle/altered"
    weights = onnx.load(bundle / "gan.onnx").graph.initializer
    some = [one for one in weights if one.data_type == onnx.TensorProto.FLOAT]
    names = [one.name for one in some if numpy_helper.to_array(one).any()]
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
