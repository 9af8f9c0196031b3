"""The classifier accuracy score: what a network that learns from generated images alone then knows of real ones."""

from dataclasses import dataclass

import numpy as np
import torch

from models.learners.classifier import ClassifierLearner
from models.settings import ClassifierSettings, StopSettings
from models.training.device import Mode, exact_float32
from models.training.learner import Images
from models.training.random import Sampler
from models.training.steps import make_step
from tasks.common.cli import Progress
from tasks.common.params import Params
from tasks.evaluate.sampling import Sampling
from tasks.metrics.bootstrap import Interval
from tasks.metrics.intervals import share_interval
from tasks.preprocess.dataset import Prepared


@dataclass(frozen=True)
class GeneratedImages:
    """What a generator that is told labels draws, as a split."""

    drawing: Sampling
    shape: tuple[int, int, int]

    @property
    def labels(self) -> np.ndarray:
        """What each image was to show."""
        return self.drawing.labels

    def __len__(self) -> int:
        return len(self.labels)

    def gather(self, indices: np.ndarray) -> np.ndarray:
        """Drawn anew each time, so that memory holds no more than a batch."""
        return self.drawing(indices)


@dataclass(frozen=True)
class Some:
    """Some images of a split."""

    whole: Images
    rows: np.ndarray

    @property
    def shape(self) -> tuple[int, int, int]:
        """C, H, W."""
        return self.whole.shape

    @property
    def labels(self) -> np.ndarray | None:
        """Of these images."""
        return None if self.whole.labels is None else self.whole.labels[self.rows]

    def __len__(self) -> int:
        return len(self.rows)

    def gather(self, indices: np.ndarray) -> np.ndarray:
        """uint8 [n, C, H, W] for int64 [n]."""
        return self.whole.gather(self.rows[indices])


def accuracy_scores(
    drawing: Sampling, prepared: Prepared, params: Params, device: torch.device
) -> tuple[Interval, Interval]:
    """Accuracy on the test images after learning from the drawn ones, and from as many real training images.

    Ravuri & Vinyals 2019 (arXiv 1905.10887), section 3.1, with the reference stage's own network and recipe, shortened
    to `evaluate.accuracy_epochs` looks at each image. A GPU draws other random numbers than a CPU does, so it learns
    otherwise and the score moves as it would with another seed.
    """
    train, test = prepared.split("train"), prepared.split("test")
    drawn = GeneratedImages(drawing, train.shape)
    rows = np.sort(np.random.default_rng(params.evaluate.seed).permutation(len(train))[: len(drawn)])
    stop = StopSettings(n_images=params.evaluate.accuracy_epochs * len(drawn), patience=0, max_seconds=0)
    settings, classes = params.reference.model_copy(update={"stop": stop}), len(prepared.manifest.labels)
    mode = Mode(device, None, torch.channels_last, "float32, as on a CPU")
    shares = [_accuracy(images, test, settings, classes, mode) for images in (drawn, Some(train, rows))]
    return share_interval(shares[0], len(test)), share_interval(shares[1], len(test))


def _accuracy(images: Images, test: Images, settings: ClassifierSettings, classes: int, mode: Mode) -> float:
    """Of a network that learns from `images` alone, on `test`."""
    learner = ClassifierLearner(settings, "classifier", images.shape[0], classes, mode)
    step, sampler, told = make_step(learner), Sampler(len(images), settings.seed), images.labels
    assert told is not None
    with exact_float32(), Progress(settings.stop.n_images, f"learning from {len(images):,} images") as shown:
        for train_state in range(0, settings.stop.n_images, settings.batch):
            rows = sampler.batch(train_state, settings.batch)
            raw, labels = (torch.from_numpy(each).to(mode.device) for each in (images.gather(rows), told[rows]))
            step(raw, labels, train_state, 1.0)
            shown.advance(settings.batch)
        return learner.accuracy(test)
