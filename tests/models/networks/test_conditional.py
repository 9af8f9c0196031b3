"""When a generator is told labels, and that it then draws what they say."""

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


def test_auto_tells_labels_where_each_has_images() -> None:
    assert num_conditional_labels("auto", [5, 1]) == num_conditional_labels("on", [5, 1]) == 2
    assert (
        num_conditional_labels("auto", [])
        == num_conditional_labels("auto", [5, 0])
        == num_conditional_labels("off", [5, 1])
        == 0
    )


@pytest.mark.parametrize(("labels", "reason"), [([], "the data has no labels"), ([5, 0], "label 1 has no training")])
def test_labels_that_cannot_be_told_are_refused_where_they_are_asked_for(labels: list[int], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        num_conditional_labels("on", labels)


def test_a_textbook_vae_has_nothing_to_tell_labels_to(vae_settings: Callable[..., VaeSettings]) -> None:
    with pytest.raises(ValidationError, match="conditional: on needs prior: flow"):
        vae_settings(conditional="on", prior="standard")


def test_a_gan_draws_the_square_that_the_label_says(
    mode: Mode, gan_settings: Callable[..., GanSettings], images
) -> None:  # type: ignore[no-untyped-def]
    learner = GanLearner(gan_settings(n_images=6400), 28, 1, mode, classes=4)
    for _ in fit(learner, Eager(learner), MemoryMapped(images, Sampler(64, 0)), images, TrainState()):
        pass
    with torch.no_grad():
        drawn = [learner.ema.network(torch.randn(32, 8), torch.full((32,), label)).mean() for label in range(4)]
    assert drawn == sorted(drawn)  # a label's square is the larger the higher its number
    assert drawn[3] - drawn[0] > 0.3


def test_a_vaes_prior_samples_what_the_label_says(mode: Mode, vae_settings: Callable[..., VaeSettings], images) -> None:  # type: ignore[no-untyped-def]
    learner = VaeLearner(vae_settings(n_images=3200, prior_steps=200), 28, 1, mode, classes=4)
    for _ in fit(learner, Eager(learner), MemoryMapped(images, Sampler(64, 0)), images, TrainState()):
        pass
    prior, decoder = learner.fit_prior(images, lambda *_: None), learner.ema_decoder.network
    with torch.no_grad():
        drawn = [sample(decoder, prior, torch.randn(32, 4), torch.full((32,), label)).mean() for label in range(4)]
    assert drawn == sorted(drawn)
    assert drawn[3] - drawn[0] > 0.3
