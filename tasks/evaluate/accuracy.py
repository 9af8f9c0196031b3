"""The classifier accuracy score: accuracy on real images of a classifier trained on generated images alone."""

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
from tasks.evaluate.sampling import ExportedGenerator
from tasks.metrics.bootstrap import Interval
from tasks.metrics.intervals import share_interval
from tasks.preprocess.dataset import Prepared


def accuracy_scores(
    generator: ExportedGenerator, prepared: Prepared, params: Params, device: torch.device
) -> tuple[Interval, Interval]:
    """Test accuracy of a classifier trained on generated images, and of one trained on as many real ones.

    Ravuri & Vinyals 2019 (arXiv 1905.10887), section 3.1, with the network and recipe of the stage `reference`, for
    `evaluate.accuracy_epochs` epochs. A GPU has other random numbers than a CPU, so that the score differs between them
    as between seeds.
    """
    train, test = prepared.split("train"), prepared.split("test")
    rows = np.sort(np.random.default_rng(params.evaluate.seed).permutation(len(train))[: len(generator)])
    stop = StopSettings(n_images=params.evaluate.accuracy_epochs * len(generator), patience=0, max_seconds=0)
    settings, classes = params.reference.model_copy(update={"stop": stop}), len(prepared.manifest.labels)
    mode = Mode(device, None, torch.channels_last, "float32, as on a CPU")
    generated = _accuracy(generator, np.arange(len(generator)), test, settings, classes, mode)
    real = _accuracy(train, rows, test, settings, classes, mode)
    return share_interval(generated, len(test)), share_interval(real, len(test))


def _accuracy(
    images: Images, rows: np.ndarray, test: Images, settings: ClassifierSettings, classes: int, mode: Mode
) -> float:
    """Accuracy on `test` of a classifier trained on these rows of `images`, generated anew in each epoch."""
    learner = ClassifierLearner(settings, "classifier", images.shape[0], classes, mode)
    step, sampler, labels = make_step(learner), Sampler(len(rows), settings.seed), images.labels
    assert labels is not None
    with exact_float32(), Progress(settings.stop.n_images, f"learning from {len(rows):,} images") as progress:
        for n_images in range(0, settings.stop.n_images, settings.batch):
            batch = rows[sampler.batch(n_images, settings.batch)]
            raw, targets = (torch.from_numpy(each).to(mode.device) for each in (images.gather(batch), labels[batch]))
            step(raw, targets, n_images, 1.0)
            progress.advance(settings.batch)
        return learner.accuracy(test)
