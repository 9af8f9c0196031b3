"""Compares the speed of training with published loops: `python bench/train_speed.py [--json FILE]`, after `make data`.

The peer (bench/peers.py) and the engine train the same networks on Fashion-MNIST in this process, in turns, with
separate BatchNorm statistics for real and generated images; each result is the median of the rounds. The share of the
matrix-product rate is the training's FLOP/s over those of a large matrix product on the same device.
"""

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from arguments import parse, parser
from PIL import Image
from rows import Row, at_least, at_most, publish
from ruamel.yaml import YAML
from torch.utils.flop_counter import FlopCounterMode

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import peers  # noqa: E402 - the project is no installed package

from models.learners.gan import GanLearner  # noqa: E402
from models.learners.vae import VaeLearner  # noqa: E402
from models.settings import GanSettings, VaeSettings  # noqa: E402
from models.training.device import Mode, choose_mode  # noqa: E402
from models.training.engine import TrainState, fit  # noqa: E402
from models.training.learner import Learner  # noqa: E402
from models.training.loaders import OnDevice, Prefetched, make_loader  # noqa: E402
from models.training.random import Sampler  # noqa: E402
from models.training.steps import make_step, run_step  # noqa: E402
from tasks.ingest.idx import read_idx  # noqa: E402
from tasks.preprocess.dataset import Split  # noqa: E402
from tasks.preprocess.prepare import SplitWriter  # noqa: E402

RAW = ROOT / "data/raw/train-images-idx3-ubyte"
WARM_UP = 5  # steps
FOREVER = 10**12  # images
STREAMED, BARE = "streamed", "the captured step alone"
Steps = Iterator[None]


@dataclass(frozen=True)
class Work:
    """A training: the textbook DCGAN or the default VAE, with image side and batch size."""

    model: Literal["gan", "vae"]
    side: int
    batch: int

    def __str__(self) -> str:
        return f"{'DCGAN' if self.model == 'gan' else 'VAE'} {self.side}x{self.side}, batch {self.batch}"


@dataclass(frozen=True)
class Bound:
    """A requirement for `work` on a device: a multiple of the peer's speed at `peer`, or images/s."""

    device: str
    work: Work
    peer: Work
    times: float = 0.0
    images_per_second: float = 0.0


BOUNDS = [  # for devices that multiply in bfloat16; a CPU needs AVX512-bf16
    Bound("cpu", Work("gan", 32, 128), Work("gan", 32, 128), times=2.0),
    Bound("cuda", Work("gan", 64, 64), Work("gan", 64, 64), times=6.5),
    Bound("cuda", Work("gan", 64, 256), Work("gan", 64, 64), times=12),
    Bound("cuda", Work("gan", 32, 128), Work("gan", 32, 128), images_per_second=105_000),
    Bound("cuda", Work("gan", 32, 512), Work("gan", 32, 512), images_per_second=200_000),
    Bound("cuda", Work("vae", 32, 128), Work("vae", 32, 128), times=4),
]


def main() -> None:
    """Measures, prints a table and writes the JSON."""
    made = parser(__doc__)
    made.add_argument("--rounds", type=int, default=3)
    made.add_argument("--seconds", type=float, default=10.0, help="seconds of each run")
    made.add_argument("--threads", type=int, default=2, help="threads of torch on the CPU")
    given = parse(made, rounds=1, seconds=0.0, threads=1)
    if not (RAW.is_file() or given.tiny):
        sys.exit(f"error: {RAW} is missing; run `make data` first")
    torch.set_num_threads(given.threads)
    device = choose_mode().device
    print(f"{device.type}, {given.threads} threads, torch {torch.__version__}, {given.rounds} rounds", flush=True)
    with tempfile.TemporaryDirectory() as place:
        pictures, warm_up = (synthetic(1000), 1) if given.tiny else (read_idx(RAW, 3), WARM_UP)
        speeds = measure(Path(place), modes(), given.rounds, given.seconds, pictures, warm_up)
    rates = {mode.name: product_rate(mode) for mode in modes()}
    publish([*table(speeds, rates), *required(speeds, choose_mode()), *engine_rows(speeds)], given.json)


def modes() -> list[Mode]:
    """Returns the engine's own choice first, then without graphs, without bfloat16, without channels_last."""
    chosen = choose_mode()
    eager = replace(chosen, captured=False)
    single = replace(eager, autocast=None)
    plain = replace(single, memory_format=torch.contiguous_format)
    return list({mode.name: mode for mode in (chosen, eager, single, plain)}.values())


Speeds = dict[tuple[Work, str], list[float]]  # images/s of every round, by training and loop


def synthetic(count: int) -> np.ndarray:
    """Returns noise images uint8 [count, 28, 28]; training on them takes as long as on others."""
    return np.random.default_rng(0).integers(0, 256, (count, 28, 28), np.uint8)


def works(device: torch.device) -> list[Work]:
    """Returns the trainings that the requirements for this kind of device name."""
    found = [work for bound in BOUNDS if bound.device == device.type for work in (bound.work, bound.peer)]
    return list(dict.fromkeys(found))


def measure(
    place: Path,
    modes: list[Mode],
    rounds: int,
    seconds: float,
    pictures: np.ndarray,
    warm_up: int = WARM_UP,
    chosen: Sequence[Work] = (),
) -> Speeds:
    """Runs all or the chosen trainings in turns, so that other load on the machine affects all alike."""
    device, speeds = modes[0].device, Speeds()
    works_here = chosen or works(device)
    splits = {side: packed(place, pictures, side) for side in {work.side for work in works_here}}
    runs: dict[tuple[Work, str], Callable[[], Steps]] = {}
    for work in works_here:
        for workers in worker_counts(device):
            runs[work, f"peer, {workers} workers"] = lambda w=work, n=workers: peer(w, pictures, device, n)
        for mode in modes:
            runs[work, mode.name] = lambda w=work, m=mode: engine(w, splits[w.side], m, share=1.0)
        if device.type == "cuda":
            runs[work, STREAMED] = lambda w=work: engine(w, splits[w.side], modes[0], share=0.0)
            if not modes[0].captured:
                sys.exit(f"error: steps of {modes[0].name} are not captured")
            runs[work, BARE] = lambda w=work: bare(w, splits[w.side], modes[0])
    for number in range(rounds):
        for key, start in runs.items():
            speeds.setdefault(key, []).append(speed(start(), key[0].batch, seconds, device, warm_up))
            print(f"round {number + 1}: {key[0]}, {key[1]}: {speeds[key][-1]:,.0f} images/s", flush=True)
    return speeds


def worker_counts(device: torch.device) -> list[int]:
    """Returns numbers of DataLoader workers; on a CPU they compete with the networks, so the faster of two counts."""
    return [8] if device.type == "cuda" else [0, min(2, os.cpu_count() or 1)]


def packed(place: Path, pictures: np.ndarray, side: int) -> Split:
    """Writes the images as memory-mapped shards, as the stage `preprocess` does."""
    folder = place / str(side)
    folder.mkdir()
    writer = SplitWriter(folder, "train", (1, side, side), shard_bytes=64 << 20)
    for start in range(0, len(pictures), 1000):
        block = [Image.fromarray(picture).resize((side, side)) for picture in pictures[start : start + 1000]]
        writer.append(np.stack([np.asarray(image) for image in block])[:, None], [None] * len(block))
    return Split(folder, writer.finish([]), (1, side, side))


def speed(steps: Steps, batch: int, seconds: float, device: torch.device, warm_up: int = WARM_UP) -> float:
    """Returns images per second, after a few steps that do not count."""
    for _ in range(warm_up):
        next(steps)
    synchronise(device)
    done, start = 0, time.perf_counter()
    while not done or time.perf_counter() - start < seconds:
        next(steps)
        done += batch
    synchronise(device)
    return done / (time.perf_counter() - start)


def synchronise(device: torch.device) -> None:
    """Waits until the device has finished."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def learner_of(work: Work, mode: Mode, gan: str = "classic") -> Learner:
    """Returns a preset's GAN with a moving average, or the default VAE, without end and without probes."""
    endless = {"stop": {"n_images": FOREVER, "patience": 0, "max_seconds": 0}, "probe_every": FOREVER}
    changes = {"seed": 0, "batch": work.batch, "micro_batch": 0, "rollbacks": 0} | endless
    if work.model == "gan":
        settings = preset(gan)["train_gan"] | changes | {"ema_half_life": 20_000}
        return GanLearner(GanSettings.model_validate(settings), work.side, 1, mode)
    return VaeLearner(VaeSettings.model_validate(preset("quick")["train_vae"] | changes), work.side, 1, mode)


def preset(name: str) -> dict[str, dict[str, object]]:
    """Returns the sections of a preset."""
    sections: dict[str, dict[str, object]] = YAML(typ="safe").load(ROOT / "presets" / f"{name}.yaml")
    return sections


def engine(work: Work, split: Split, mode: Mode, share: float, gan: str = "classic") -> Steps:
    """Runs our own loop; on a GPU, a share of 1 keeps the images in its memory, and 0 streams them."""
    learner = learner_of(work, mode, gan)
    loader = make_loader(split, Sampler(len(split), 0), mode.device, share)
    if mode.device.type == "cuda" and not isinstance(loader, OnDevice if share else Prefetched):
        sys.exit(f"error: {loader.description}, which is not the loader that the row names")
    for _ in fit(learner, make_step(learner), loader, split, TrainState()):
        yield


def bare(work: Work, split: Split, mode: Mode) -> Steps:
    """Repeats the step on one batch; the difference to `engine` is the loop's overhead."""
    step = make_step(learner_of(work, mode))
    raw, labels = make_loader(split, Sampler(len(split), 0), mode.device, 1.0).fetch(0, work.batch)
    for number in count():
        step(raw, labels, number * work.batch, 1.0)
        yield


def peer(work: Work, pictures: np.ndarray, device: torch.device, workers: int) -> Steps:
    """Runs the published loop with the same networks."""
    learner = learner_of(
        work, Mode(torch.device("cpu"), None, torch.contiguous_format, "only its configuration is used")
    )
    images = peers.batches(pictures, work.side, work.batch, device, workers)
    if isinstance(learner, GanLearner):
        return peers.train_gan(images, learner.config, device)
    assert isinstance(learner, VaeLearner)
    return peers.train_vae(images, learner.config, device)


def product_rate(mode: Mode) -> float:
    """Returns FLOP/s of a large matrix product in the mode's precision, in TF32 where convolutions are."""
    side, repeats = (8192, 20) if mode.device.type == "cuda" else (2048, 5)
    factor = torch.randn(side, side, device=mode.device, dtype=mode.autocast or torch.float32)
    with products_as_convolutions():
        factor @ factor
        synchronise(mode.device)
        start = time.perf_counter()
        for _ in range(repeats):
            factor @ factor
        synchronise(mode.device)
        return repeats * 2 * side**3 / (time.perf_counter() - start)


@contextmanager
def products_as_convolutions() -> Iterator[None]:
    """Sets matrix products to TF32 where convolutions use it; PyTorch's default is TF32 for convolutions only."""
    products = torch.backends.cuda.matmul
    before, products.allow_tf32 = products.allow_tf32, torch.backends.cudnn.allow_tf32
    try:
        yield
    finally:
        products.allow_tf32 = before


def flops_per_image(work: Work) -> float:
    """Returns the FLOPs of one training step per image, by torch's own count."""
    learner = learner_of(work, Mode(torch.device("cpu"), None, torch.contiguous_format, "only its FLOPs are counted"))
    raw = torch.zeros(work.batch, 1, work.side, work.side, dtype=torch.uint8)
    with FlopCounterMode(display=False) as counter:
        run_step(learner, raw, None, learner.sample_noise(0, work.batch), learner.schedule(0, 1.0))
    return counter.get_total_flops() / work.batch


def table(speeds: Speeds, rates: dict[str, float]) -> list[Row]:
    """Returns the medians, and the share of the matrix-product rate of each mode of the engine."""
    rows = []
    for (work, who), values in speeds.items():
        rows.append(Row(f"{work}: {who}", statistics.median(values), "images/s"))
        if who in rates:
            share = statistics.median(values) * flops_per_image(work) / rates[who]
            rows.append(Row("    share of the matrix-product rate", share))
    return rows


def required(speeds: Speeds, mode: Mode) -> list[Row]:
    """Returns the requirements; unmeasured without the device, or on a CPU that does not multiply in bfloat16."""
    here = mode.device.type if mode.autocast else None
    return [bound_row(bound, speeds if bound.device == here else None) for bound in BOUNDS]


def bound_row(bound: Bound, speeds: Speeds | None) -> Row:
    """Compares our own choice of mode with the faster of the peer's runs."""
    ours = speeds and statistics.median(speeds[bound.work, choose_mode().name])
    if not bound.times:
        return at_least(f"{bound.device}: {bound.work}", ours or None, bound.images_per_second, "images/s")
    title = f"{bound.device}: {bound.work} / the peer's loop" + (
        f" at {bound.peer.batch}" if bound.peer != bound.work else ""
    )
    if not speeds or not ours:
        return at_least(title, None, bound.times, "times")
    them = [statistics.median(speeds[key]) for key in speeds if key[0] == bound.peer and key[1].startswith("peer")]
    return at_least(title, ours / max(them), bound.times, "times")


def engine_rows(speeds: Speeds) -> list[Row]:
    """Compares, on a GPU, streamed with resident images and the loop with the bare step; the worst of all."""

    def shares(who: str) -> list[float]:
        mine = choose_mode().name
        return [
            statistics.median(speeds[work, mine]) / statistics.median(values)
            for (work, other), values in speeds.items()
            if other == who
        ]

    streamed, loop = [1 / share for share in shares(STREAMED)], [1 / share - 1 for share in shares(BARE)]
    return [
        at_least("cuda: streamed / resident, the smallest", min(streamed, default=None), 0.7),
        at_most("cuda: overhead of the loop over the captured step, the largest", max(loop, default=None), 0.05),
    ]


if __name__ == "__main__":
    main()
