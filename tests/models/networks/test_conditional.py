"""Models are conditional where labels allow it, and then generate what the label says."""

from collections.abc import Callable

import pytest
import torch
from pydantic import ValidationError

from models.learners.gan import GanLearner
from models.learners.vae import VaeLearner
from models.networks.vae import sample
from models.settings import GanSettings, VaeSettings
from models.training.device import Mode
from models.training.engine import TrainState, fit
from models.training.learner import num_conditional_labels
from models.training.loaders import MemoryMapped
from models.training.random import Sampler
from models.training.steps import Eager


def test_auto_is_conditional_where_each_label_has_images() -> None:
    assert num_conditional_labels("auto", [5, 1]) == num_conditional_labels("on", [5, 1]) == 2
    assert (
        num_conditional_labels("auto", [])
        == num_conditional_labels("auto", [5, 0])
        == num_conditional_labels("off", [5, 1])
        == 0
    )


@pytest.mark.parametrize(("labels", "reason"), [([], "the data has no labels"), ([5, 0], "label 1 has no training")])
def test_on_needs_images_of_every_label(labels: list[int], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        num_conditional_labels("on", labels)


def test_a_vae_with_a_standard_prior_cannot_be_conditional(vae_settings: Callable[..., VaeSettings]) -> None:
    with pytest.raises(ValidationError, match="conditional: on needs prior: flow"):
        vae_settings(conditional="on", prior="standard")


def test_a_gan_generates_the_square_of_the_label(mode: Mode, gan_settings: Callable[..., GanSettings], images) -> None:  # type: ignore[no-untyped-def]
    learner = GanLearner(gan_settings(n_images=6400), 28, 1, mode, classes=4)
    for _ in fit(learner, Eager(learner), MemoryMapped(images, Sampler(64, 0)), images, TrainState()):
        pass
    with torch.no_grad():
        brightness = [learner.ema.network(torch.randn(32, 8), torch.full((32,), label)).mean() for label in range(4)]
    assert brightness == sorted(brightness)  # higher labels have larger squares
    assert brightness[3] - brightness[0] > 0.3


def test_a_vaes_prior_samples_codes_of_the_label(mode: Mode, vae_settings: Callable[..., VaeSettings], images) -> None:  # type: ignore[no-untyped-def]
    learner = VaeLearner(vae_settings(n_images=3200, prior_steps=200), 28, 1, mode, classes=4)
    for _ in fit(learner, Eager(learner), MemoryMapped(images, Sampler(64, 0)), images, TrainState()):
        pass
    prior, decoder = learner.fit_prior(images, lambda *_: None), learner.ema_decoder.network
    with torch.no_grad():
        brightness = [sample(decoder, prior, torch.randn(32, 4), torch.full((32,), label)).mean() for label in range(4)]
    assert brightness == sorted(brightness)
    assert brightness[3] - brightness[0] > 0.3
