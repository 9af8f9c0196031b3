"""Trainings in this process, evaluated at intervals with the evaluator of `quick`; that time does not count."""

import re
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from checkouts import ROOT
from ruamel.yaml import YAML

sys.path.insert(0, str(ROOT))

from models.learners.gan import GanLearner, uses_augmentation
from models.learners.prior import Codes, fit_prior
from models.learners.vae import VaeLearner
from models.networks.prior import FlowPrior
from models.networks.vae import sample
from models.pixels import to_bytes, to_unit
from models.settings import GanSettings, VaeSettings
from models.training.device import Mode
from models.training.engine import TrainState, fit
from models.training.learner import num_conditional_labels
from models.training.loaders import make_loader
from models.training.random import Sampler, noise
from models.training.steps import make_step
from tasks.common.params import Params
from tasks.evaluate.scores import relative_distance, score
from tasks.preprocess.dataset import Prepared, open_prepared
from tasks.reference.protocol import REFERENCE
from tasks.reference.statistics import load_statistics

Model = Literal["gan", "vae"]
Learner = GanLearner | VaeLearner
SNAPSHOTS = 3  # evaluations of a training
CALIBRATION = 8.0  # seconds
BATCH = 500  # images generated at a time
SIDE = 8  # images along a side of a grid
NUMBERED = 10**9  # images of a training that is only timed


@dataclass(frozen=True)
class Recipe:
    """A preset's section, changed by dotted key where `change` names it, and the seconds it gets, if set."""

    model: Model
    preset: str
    seconds: float | None = None
    changes: Mapping[str, object] = field(default_factory=dict)
    change: str = ""

    @property
    def label(self) -> str:
        """The preset, and what was changed in it."""
        return f"{self.preset}, {self.change}" if self.change else self.preset

    @property
    def name(self) -> str:
        """The name for files."""
        return re.sub(r"[^a-z0-9]+", "-", str(self).lower())

    def __str__(self) -> str:
        return f"{self.model.upper()}, {self.label}" + (f", {self.seconds:g} s" if self.seconds else "")


@dataclass(frozen=True)
class Snapshot:
    """The metrics of a training after so many seconds."""

    seconds: float
    n_images: int
    metrics: dict[str, float]


class Trainings:
    """The data, the evaluator and the device that all recipes share; the working directory holds data/prepared."""

    def __init__(self, params: Params, mode: Mode, calibration: float = CALIBRATION) -> None:
        self.params, self.mode, self.calibration = params, mode, calibration
        self.prepared: Prepared = open_prepared()
        reference = load_statistics(REFERENCE, params.evaluate, self.prepared.hash, mode.device)
        self.evaluator, self.real = reference.evaluator, reference.real

    def train(self, recipe: Recipe, seed: int, seconds: float | None) -> tuple[list[Snapshot], np.ndarray]:
        """Trains for so many seconds, or as the preset says; returns snapshots, and images for a grid."""
        section = settings(recipe, seed)
        images = section["stop"]["n_images"] if seconds is None else self._affordable(section, recipe.model, seconds)
        learner = self._learner(section, recipe.model, images)
        train_state, spent, snapshots = TrainState(), 0.0, list[Snapshot]()
        started = self._now()
        for _ in self._steps(learner, train_state):
            if train_state.n_images * SNAPSHOTS // images > len(snapshots):
                spent += self._now() - started
                started = self._now()
                prior = self._prior(learner)
                fitting = self._now() - started
                snapshots.append(Snapshot(spent + fitting, train_state.n_images, self._metrics(learner, prior)))
                started = self._now()
        label = np.arange(SIDE**2) * len(self.prepared.manifest.labels) // SIDE**2
        return snapshots, self._generate(learner, prior, noise(SIDE**2, self._length(learner), 0, "grid"), label)

    def _affordable(self, section: dict[str, object], model: Model, seconds: float) -> int:
        """Returns how many images the recipe can train on in that time, by its measured speed, prior included."""
        learner, train_state = self._learner(section, model, NUMBERED), TrainState()
        steps = self._steps(learner, train_state)
        for _ in range(5):
            next(steps)
        first, start = train_state.n_images, self._now()
        while self._now() - start < self.calibration:
            next(steps)
        rate = (train_state.n_images - first) / (self._now() - start)
        left = seconds - (self._prior_seconds(learner) if isinstance(learner, VaeLearner) else 0.0)
        if left <= 0:
            sys.exit(f"error: {seconds:g} s are too few, since fitting the prior takes longer; give more --seconds")
        return int(left * rate)

    def _prior_seconds(self, learner: VaeLearner) -> float:
        if learner.settings.prior == "standard":
            return 0.0
        s, times = learner.settings, []
        prior = FlowPrior(s.latent, s.prior_layers, s.prior_width, learner.config.classes).to(self.mode.device)
        some = torch.zeros(2048, s.latent, device=self.mode.device)
        codes = Codes(some, some, torch.zeros_like(some[:, 0], dtype=torch.int64) if learner.config.classes else None)
        for count in (20, 120):
            start = self._now()
            fit_prior(prior, codes, count, 0, self.mode, lambda codes, nll: None)
            times.append(self._now() - start)
        return (times[1] - times[0]) * s.prior_steps / 100  # without the cost of the first steps

    def _learner(self, section: dict[str, object], model: Model, images: int) -> Learner:
        manifest = self.prepared.manifest
        section = section | {"stop": {"n_images": images, "patience": 0, "max_seconds": 0}}
        if model == "gan":
            gan = GanSettings.model_validate(section)
            classes = num_conditional_labels(gan.conditional, self.prepared.train_counts)
            augmented = uses_augmentation(gan.augment, manifest.splits["train"].count)
            return GanLearner(gan, manifest.size, manifest.channels, self.mode, classes, augmented)
        vae = VaeSettings.model_validate(section)
        classes = num_conditional_labels(vae.conditional, self.prepared.train_counts)
        return VaeLearner(vae, manifest.size, manifest.channels, self.mode, classes)

    def _steps(self, learner: Learner, train_state: TrainState) -> Iterator[TrainState]:
        train = self.prepared.split("train")
        loader = make_loader(
            train, Sampler(len(train), learner.settings.seed), self.mode.device, self.params.device_share
        )
        return fit(learner, make_step(learner), loader, self.prepared.split("validation"), train_state)

    def _prior(self, learner: Learner) -> FlowPrior | None:
        if isinstance(learner, GanLearner):
            return None
        return learner.fit_prior(self.prepared.split("train"), lambda codes, nll: None)

    def _metrics(self, learner: Learner, prior: FlowPrior | None) -> dict[str, float]:
        """Computes what the stage `evaluate` does for an exported file, here for images that PyTorch generates."""
        s, counts = self.params.evaluate, np.array(self.prepared.train_counts)
        rows = noise(s.n_images, self._length(learner), s.seed, "evaluate")
        label = np.random.default_rng(s.seed).choice(len(counts), s.n_images, p=counts / counts.sum())
        metrics = score(self.evaluator.features(self._generate(learner, prior, rows, label)), self.real, s)
        if prior is not None:
            standard = self.evaluator.features(self._generate(learner, None, rows, label))
            metrics["fd_relative_standard_prior"] = relative_distance(standard, self.real)
        return metrics

    @torch.no_grad()
    def _generate(self, learner: Learner, prior: FlowPrior | None, rows: torch.Tensor, label: np.ndarray) -> np.ndarray:
        """Generates images uint8 [N, C, H, W] with the networks that ship."""
        parts = []
        for start in range(0, len(rows), BATCH):
            part, labels = rows[start : start + BATCH].to(self.mode.device), None
            if learner.config.classes:
                labels = torch.from_numpy(label[start : start + BATCH]).to(self.mode.device)
            if isinstance(learner, GanLearner):
                images = learner.ema.network(part, labels)
            else:
                images = sample(learner.ema_decoder.network, prior, part, None if prior is None else labels)
            parts.append(to_bytes(to_unit(images)).cpu().numpy())
        return np.concatenate(parts)

    @staticmethod
    def _length(learner: Learner) -> int:
        return learner.settings.noise if isinstance(learner, GanLearner) else learner.settings.latent

    def _now(self) -> float:
        if self.mode.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()


def settings(recipe: Recipe, seed: int) -> dict[str, object]:
    """Returns the section of params.yaml for the recipe, as plain values."""
    section = YAML(typ="safe").load(ROOT / "presets" / f"{recipe.preset}.yaml")[f"train_{recipe.model}"]
    section |= {"seed": seed, "micro_batch": 0, "rollbacks": 0}
    for name, value in recipe.changes.items():
        *above, last = name.split(".")
        inner = section
        for part in above:
            inner = inner[part]
        inner[last] = value
    return section
