"""The checks of gpu_check.py; each yields its rows one by one, as they are measured.

On a machine without a GPU the same code runs on the CPU at the smallest sizes, and its results mean nothing.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import numpy as np
import torch
import train_speed
from arguments import parser
from checkouts import ROOT, TINY, Checkout
from rows import Row, at_least, at_most
from torch import Tensor
from train_speed import Work

from models.learners.classifier import ClassifierLearner
from models.learners.gan import GanLearner
from models.learners.vae import VaeLearner
from models.settings import ClassifierSettings, GanSettings, VaeSettings
from models.training.device import Mode, choose_mode
from models.training.engine import DivergedError, TrainState, fit
from models.training.learner import Images, Learner
from models.training.loaders import Prefetched, make_loader
from models.training.random import Sampler
from models.training.state import network_tensors, optimiser_tensors
from models.training.steps import WARM_UP, Captured, Eager, Graph
from tasks.export.session import CUDA

SETTINGS = {"gan": GanSettings, "vae": VaeSettings, "reference": ClassifierSettings}
NORM_FREE = {"loss": "relativistic", "discriminator_norm": "none", "r1": 1.0, "r2": 1.0, "penalty_every": 2}
PENALISED = {"loss": "hinge", "discriminator_norm": "spectral", "r1": 1.0, "penalty_every": 2}
RATIOS = {"gan": 0.6, "vae": 0.45}  # fd_relative of `full` over that of `classic` in the same seconds
MANY, MANY_SECONDS = 50_000, 15
TEST_ENDS = ("passed", "failed", "errors?", "skipped")
Ends = dict[str, Tensor]  # all tensors of a learner


@dataclass(frozen=True)
class Size:
    """How much is run: on a CPU the least, on a GPU what takes eight minutes, or thirty with `long`."""

    gpu: bool
    long: bool = False

    def of(self, least: float, short: float, long: float) -> float:
        """Returns the value for this size."""
        return (long if self.long else short) if self.gpu else least


# ---- the tests that need a GPU --------------------------------------------------------------------------------------
def marked_tests(size: Size) -> Iterator[Row]:
    """Runs the tests marked `gpu` in a process of their own; others may need packages that a bare machine lacks."""
    marked = [str(file) for file in (ROOT / "tests").rglob("test_*.py") if "@pytest.mark.gpu" in file.read_text()]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "gpu", *sorted(marked)]
    command += ["--continue-on-collection-errors", *["--collect-only"] * (not size.gpu)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    print(done.stdout[-6000:], done.stderr[-2000:], flush=True)
    lacking = done.stdout.count("ModuleNotFoundError:")
    passed, failed, errors, skipped = (sum(map(int, re.findall(rf"(\d+) {word}", done.stdout))) for word in TEST_ENDS)
    failed += max(errors - lacking, 0)
    yield at_least("tests marked gpu that pass", passed, max(passed + failed, 1), f"of {passed + failed}")
    yield Row("    test files whose packages are not installed", lacking)
    yield Row("    tests skipped, since this ONNX Runtime is built without CUDA", skipped)


def onnx_on_the_gpu() -> bool:
    """Returns whether the installed ONNX Runtime was built with CUDA."""
    import onnxruntime

    return CUDA in onnxruntime.get_available_providers()


# ---- captured steps against eager ones ------------------------------------------------------------------------------
class Noise:
    """A split of noise images with ten labels."""

    def __init__(self, count: int, side: int, channels: int) -> None:
        self.shape = (channels, side, side)
        self._pixels = np.random.default_rng(0).integers(0, 256, (count, *self.shape), np.uint8)
        self.labels = np.arange(count) % 10

    def __len__(self) -> int:
        return len(self._pixels)

    def gather(self, indices: np.ndarray) -> np.ndarray:
        """Returns uint8 [n, C, H, W] for indices int64 [n]."""
        pixels: np.ndarray = self._pixels[indices]
        return pixels


@dataclass(frozen=True)
class Kind:
    """A learner: model, preset, changed settings, and the side and channels of its images."""

    model: str
    preset: str = "classic"
    side: int = 28
    channels: int = 1
    changes: Mapping[str, object] | None = None
    classes: int = 0
    augmented: bool = False
    batch: int = 32

    def learner(self, mode: Mode) -> Learner:
        """Returns the learner, with few channels and no end."""
        section = self.model if self.model == "reference" else f"train_{self.model}"
        forever = {"stop": {"n_images": 10**12, "patience": 0, "max_seconds": 0}, "probe_every": 10**12}
        values = train_speed.preset(self.preset)[section] | {"seed": 0, "micro_batch": 0, "rollbacks": 0, "channels": 8}
        if self.model == "vae":
            values |= {"prior_width": 16}
        values |= forever | {"batch": self.batch, "log_every": 10**9} | dict(self.changes or {})
        settings = SETTINGS[self.model].model_validate(values)
        if isinstance(settings, GanSettings):
            return GanLearner(settings, self.side, self.channels, mode, self.classes, self.augmented)
        if isinstance(settings, VaeSettings):
            return VaeLearner(settings, self.side, self.channels, mode)
        return ClassifierLearner(settings, "classifier" if self.classes else "selfsupervised", 1, self.classes, mode)


def optimiser(name: str) -> dict[str, object]:
    """Returns settings of an optimiser by name."""
    beta2 = 0.0 if name == "sgd" else 0.99
    return {"name": name, "learning_rate": 1e-3, "beta1": 0.5, "beta2": beta2, "weight_decay": 0.0, "decay_start": 0.5}


KINDS = {
    "GAN": Kind("gan"),
    "GAN, 64x64 RGB": Kind("gan", side=64, channels=3),
    "GAN, minimax": Kind("gan", changes={"loss": "minimax"}),
    "GAN, nearest": Kind("gan", changes={"upsample": "nearest"}),
    "GAN, labels, augmented, flipped": Kind("gan", changes={"flip": "on"}, classes=10, augmented=True),
    "GAN, labels, batch 4096": Kind("gan", classes=10, batch=4096),
    "GAN, spectral norm, hinge, R1": Kind("gan", changes=PENALISED),
    "GAN, relativistic, R1 and R2, augmented": Kind("gan", changes=NORM_FREE, augmented=True),
    "GAN, in parts": Kind("gan", changes={"micro_batch": 12}),
    "GAN, sgd and adamw": Kind("gan", changes={"generator": optimiser("sgd"), "discriminator": optimiser("adamw")}),
    "VAE": Kind("vae", "quick"),
    "VAE, textbook": Kind("vae", changes={"flip": "on"}),
    "VAE, residual, bernoulli": Kind("vae", "full", changes={"reconstruction": "bernoulli"}),
    "classifier": Kind("reference", "quick", classes=10),
    "self-supervised": Kind("reference", "quick"),
    "GAN, rmsprop": Kind("gan", changes={"generator": optimiser("rmsprop"), "discriminator": optimiser("rmsprop")}),
}


def captured_steps(size: Size) -> Iterator[Row]:
    """Compares captured with eager steps of every kind of learner, with both loaders; the bits must be equal."""
    mode = choose_mode("auto", deterministic=True)
    for name, kind in KINDS.items():
        if not size.gpu and (name == "GAN, rmsprop" or kind.batch > 32):  # a CPU has no such kernel, or is too slow
            continue
        images, shares = Noise(256, kind.side, kind.channels), (1.0, 0.0) if size.gpu else (1.0,)
        steps, ways = int(size.of(2, 12, 40)), [(way, share) for way in (Captured, Eager) for share in shares]
        first, *others = [trained(kind, mode, way, images, share, steps) for way, share in ways]
        differing = sum(not torch.equal(value, first[name]) for one in others for name, value in one.items())
        yield at_most(f"captured against eager, {name}: tensors that differ", differing, 0, f"of {len(first)}")


def trained(kind: Kind, mode: Mode, way: type[Captured | Eager], images: Images, share: float, steps: int) -> Ends:
    """Returns all tensors of a learner after `steps` steps; on a CPU `rerun` stands in for a CUDA graph.

    Both ways use the optimisers of captured steps, since others round learning rates differently.
    """
    learner = kind.learner(replace(mode, captured=True))
    stand_in = None if mode.device.type == "cuda" else rerun
    step = Captured(learner, stand_in) if way is Captured else Eager(learner)
    loader = make_loader(images, Sampler(len(images), 0), mode.device, share)
    for _, _ in zip(range(steps), fit(learner, step, loader, images, TrainState()), strict=False):
        pass
    tensors = network_tensors(learner.networks) | optimiser_tensors(learner.optimisers)
    return {name: value.cpu() for name, value in tensors.items()}


def rerun(body: Callable[[], Tensor]) -> Graph:
    """Stands in for a CUDA graph: runs the warm-up steps and returns the function itself."""
    for _ in range(WARM_UP):
        body()
    return body


# ---- the loader -----------------------------------------------------------------------------------------------------
def prefetched_loader(size: Size) -> Iterator[Row]:
    """Counts wrong batches of the prefetching loader while the device is busy."""
    mode, images = choose_mode(), Noise(4000, 64, 1)
    loader, rule = Prefetched(images, Sampler(4000, 0), mode.device), Sampler(4000, 0)
    load, wrong, batches = torch.randn(1024, 1024, device=mode.device), 0, int(size.of(10, 300, 2000))
    for number in range(batches):
        raw, labels = loader.fetch(number * 256, 256)
        kept, kept_labels = raw.clone(), labels.clone() if labels is not None else torch.empty(0)
        load = (load @ load).clamp(-1, 1)
        rows = rule.batch(number * 256, 256)
        same = (kept.cpu().numpy() == images.gather(rows)).all() and (
            kept_labels.cpu().numpy() == images.labels[rows]
        ).all()
        wrong += not same
    yield at_most("wrong batches of the prefetching loader under load", wrong, 0, f"of {batches}")


# ---- speed of training ----------------------------------------------------------------------------------------------
def speeds(size: Size) -> Iterator[Row]:
    """Compares with the peer's loop; adds kernels per step and the share of the device's matrix-product rate."""
    with TemporaryDirectory() as place:
        pictures = train_speed.synthetic(60_000 if size.gpu else 500)
        modes = train_speed.modes()[: 2 if size.gpu else 1]
        rounds, seconds = int(size.of(1, 1, 3)), size.of(0.0, 2.0, 5.0)
        rates, found = {mode.name: train_speed.product_rate(mode) for mode in modes}, train_speed.Speeds()
        for number, work in enumerate(train_speed.works(modes[0].device)):
            spare = Path(place) / str(number)
            spare.mkdir()
            one = train_speed.measure(spare, modes, rounds, seconds, pictures, int(size.of(1, 20, 20)), [work])
            yield from train_speed.table(one, rates)
            found |= one
        yield from train_speed.required(found, choose_mode())
        yield from train_speed.engine_rows(found)
        yield from kernels(Path(place) / "kernels", size)


def kernels(place: Path, size: Size) -> Iterator[Row]:
    """Counts the kernels of a captured step and their milliseconds."""
    place.mkdir()
    mode = choose_mode()
    works = [Work("gan", 32, 128), Work("gan", 64, 256), Work("vae", 32, 128)] if size.gpu else [Work("vae", 32, 16)]
    for work in works:
        split = train_speed.packed(place, train_speed.synthetic(2000), work.side)
        steps = train_speed.engine(work, split, mode, share=1.0)
        for _ in range(10):
            next(steps)
        train_speed.synchronise(mode.device)
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA] if size.gpu else None) as profile:
            for _ in range(4):
                next(steps)
            train_speed.synchronise(mode.device)
        found = [event for event in profile.events() if event.device_type == torch.autograd.DeviceType.CUDA]
        yield Row(f"{work}: kernels", len(found) / 4, "a step")
        yield Row("    busy", sum(event.device_time for event in found) / 4e3, "ms/step")
        shutil.rmtree(place / str(work.side))


# ---- ONNX Runtime ---------------------------------------------------------------------------------------------------
def onnx_runtime(size: Size) -> Iterator[Row]:
    """Compares the file with float64 PyTorch, with and without TF32, and measures its speed at batch 1 and 256."""
    import inference
    import onnxruntime

    if size.gpu and not onnx_on_the_gpu():
        yield Row(f"ONNX Runtime {onnxruntime.__version__} on the GPU: this package is built without CUDA", None)
        yield from inference.cuda_bounds({})
        return
    shape = inference.TEXTBOOK if size.gpu else inference.small(inference.QUICK)
    calls = inference.cuda_calls if size.gpu else inference.cpu_calls
    with TemporaryDirectory() as place:
        given = parser("").parse_args([*["--tiny"] * (not size.gpu)])
        given.threads, given.rounds, given.seconds = 1, int(size.of(1, 3, 10)), size.of(0.0, 0.2, 0.3)
        yield from inference.measured(calls, shape, Path(place) / "speed", given)


# ---- the stages -----------------------------------------------------------------------------------------------------
def stages(size: Size) -> Iterator[Row]:
    """Runs real stages without git, DVC and Prefect: recipes, equal bits, an evaluation of 50,000 images."""
    with bare_checkout(size) as place:
        place.run_stages("tasks.preprocess", "tasks.reference", "tasks.reference.second")
        os.chdir(place.path)
        yield from recipes(size)
        os.chdir(ROOT)
        yield repeated(place)
        yield from evaluated(place, size)


@contextmanager
def bare_checkout(size: Size) -> Iterator[Checkout]:
    """Copies the project's code and data to a temporary folder: Fashion-MNIST where data/raw has it, else digits."""
    with TemporaryDirectory(prefix="imagewright-") as folder:
        place = Checkout(Path(folder), tiny=not size.gpu)
        for name in ("models", "tasks", "presets"):
            shutil.copytree(ROOT / name, place / name, ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("dvc.yaml", "params.yaml", "requirements.lock"):
            shutil.copy2(ROOT / name, place / name)
        place.set_params({} if size.gpu else TINY)
        fill(place / "data/raw", size)
        yield place


def fill(raw: Path, size: Size) -> None:
    """Writes data as ingest does."""
    from tasks.ingest.raw import build_manifest, write_manifest
    from tasks.ingest.sources import digits

    if size.gpu and train_speed.RAW.is_file():
        shutil.copytree(train_speed.RAW.parent, raw)
        return
    raw.mkdir(parents=True)
    write_manifest(raw, build_manifest(raw, "digits", digits(raw)))


def repeated(place: Checkout) -> Row:
    """Trains the GAN of the committed parameters, shortened, twice with `deterministic: on`."""
    from tasks.common.files import remove, sha256_file

    place.set_params({"deterministic": "on", "train_gan.stop.n_images": 64_000})
    weights, found = place / "data/weights/gan/weights.safetensors", set()
    for _ in range(2):
        remove(place / ".work/checkpoints")
        remove(place / "data/weights")
        place.run_stages("tasks.train.gan")
        found.add(sha256_file(weights))
    place.set_params({"deterministic": "off"})
    return at_most("deterministic: on, repeated trainings with different bits", len(found) - 1, 0)


def evaluated(place: Checkout, size: Size) -> Iterator[Row]:
    """Times a whole process that evaluates; the file is exported on the CPU, since export is checked elsewhere."""
    title = f"evaluating {MANY:,} images, a whole process"
    if size.gpu and not onnx_on_the_gpu():
        yield at_most(f"{title} (this ONNX Runtime is built without CUDA)", None, MANY_SECONDS, "s")
        return
    place.set_params({"device": "cpu"})
    place.run_stages("tasks.export gan")
    place.set_params({"device": "auto", "evaluate.n_images": MANY})
    start = perf_counter()
    place.run_stages("tasks.evaluate gan")
    yield at_most(title, perf_counter() - start, MANY_SECONDS, "s")


def recipes(size: Size) -> Iterator[Row]:
    """Trains `full`, cut to a tenth of its images (whole with `long`), and `classic` for the same seconds."""
    from recipes import tiny
    from trainings import Recipe, Trainings, settings

    from tasks.common.params import load_params
    from tasks.common.runtime import prepare

    params = load_params().model_copy(update={"device": "auto"})
    trainings = Trainings(params, prepare(params), calibration=size.of(0.0, 3.0, 8.0))
    for model in ("gan", "vae"):
        small = {} if size.gpu else tiny(model)
        whole = settings(Recipe(model, "full"), 0)["stop"]["n_images"]
        images = whole if size.long else whole // 10
        shorter = small or {"stop.n_images": images, "prior_steps": 10_000 if size.long else 1000}
        try:
            ours = trainings.train(Recipe(model, "full", changes=cut(shorter, model)), 0, None)[0][-1]
            seconds = ours.seconds if size.gpu else None
            theirs = trainings.train(Recipe(model, "classic", changes=small), 0, seconds)[0][-1]
        except DivergedError as error:  # a discriminator soon memorises few images
            yield at_most(f"{model.upper()}, full / classic: a training diverged ({error})", None, RATIOS[model])
            continue
        for name, snapshot in (("full", ours), ("classic", theirs)):
            yield Row(f"{model.upper()}, {name}: fd_relative", snapshot.metrics["fd_relative"])
            yield Row("    after", snapshot.seconds, "s")
            yield Row("    images seen", snapshot.n_images)
        ratio = ours.metrics["fd_relative"] / theirs.metrics["fd_relative"]
        comparable = ratio if train_speed.RAW.is_file() or not size.gpu else None  # the bounds hold for Fashion-MNIST
        yield at_most(f"{model.upper()}, full / classic in the same seconds: fd_relative", comparable, RATIOS[model])


def cut(changes: Mapping[str, object], model: str) -> dict[str, object]:
    """Returns the changes, for a GAN without those that only a VAE has."""
    return {name: value for name, value in changes.items() if model == "vae" or name != "prior_steps"}
