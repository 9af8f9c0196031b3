"""The diagnostics detect failing trainings and leave healthy ones alone."""

from collections.abc import Callable

import pytest
import torch

from models.learners.gan import GanLearner
from models.learners.vae import VaeLearner
from models.settings import GanSettings, VaeSettings
from models.training.device import Mode
from models.training.engine import TrainState, fit
from models.training.health import (
    active_units,
    discriminator_dominates,
    generator_diverged,
    mode_collapsed,
    posterior_collapsed,
    posterior_diverged,
)
from models.training.loaders import MemoryMapped
from models.training.probe import relative_distance, spread
from models.training.random import Sampler
from models.training.steps import Eager


def test_mode_collapse_is_low_diversity() -> None:
    assert mode_collapsed(0.8) is None
    assert mode_collapsed(None) is None
    assert "vary 0.05 times as much" in str(mode_collapsed(0.05))


def test_a_discriminator_dominates_by_the_gap_of_its_logits() -> None:
    assert discriminator_dominates(4.0, -4.0, 0.3, 0.1) is None
    assert discriminator_dominates(-30.0, 30.0, 0.3, 0.1) is None  # it is wrong, and can still learn
    assert "generated images are 25 apart" in str(discriminator_dominates(10.0, -15.0, None, None))


def test_a_smaller_gap_suffices_where_the_probe_gets_worse() -> None:
    assert discriminator_dominates(6.0, -7.0, 0.11, 0.1) is None
    assert discriminator_dominates(6.0, -7.0, None, 0.1) is None
    assert "generated images are 13 apart" in str(discriminator_dominates(6.0, -7.0, 0.3, 0.1))


def test_a_smaller_gap_suffices_where_the_images_were_never_good() -> None:
    assert discriminator_dominates(6.0, -7.0, 0.9, 0.9) is None
    assert discriminator_dominates(4.0, -5.0, 1.1, 1.1) is None
    assert "generated images are 13 apart" in str(discriminator_dominates(6.0, -7.0, 1.1, 1.1))


def test_a_generator_diverges_when_good_images_become_useless() -> None:
    assert generator_diverged(0.9, 0.1) is None  # much worse, but still better than the mean image
    assert generator_diverged(1.4, 0.8) is None  # it was never much better
    assert generator_diverged(1.4, None) is None
    assert generator_diverged(None, 0.1) is None
    assert "14 times its best value" in str(generator_diverged(1.4, 0.1))


def test_active_units_are_the_dimensions_that_vary() -> None:
    means = torch.zeros(100, 4)
    means[:, 1] = torch.linspace(-1, 1, 100)
    means[:, 3] = torch.linspace(-0.1, 0.1, 100)  # variance 0.0034, below 0.01
    assert active_units(means) == 1


def test_posterior_collapse_is_few_active_dimensions() -> None:
    assert posterior_collapsed(1.0, 16) is None
    assert "0 of 16 code dimensions" in str(posterior_collapsed(0.0, 16))
    assert "2 of 64 code dimensions" in str(posterior_collapsed(2.0, 64))


def test_a_posterior_diverges_by_its_weighted_kl() -> None:
    assert posterior_diverged(16 * 10.0, 1.0, 16) is None
    assert posterior_diverged(None, 1.0, 16) is None
    assert "10.1 nats per dimension" in str(posterior_diverged(16 * 10.1, 1.0, 16))
    assert posterior_diverged(16 * 100.0, 0.1, 16) is None  # early in the warm-up the KL has little weight


def test_the_probe_of_the_mean_point_is_1() -> None:
    real = torch.randn(400, 3, generator=torch.Generator().manual_seed(0))
    assert relative_distance(real, real) == 0
    assert relative_distance(real.mean(0).expand(400, 3), real) == pytest.approx(1)
    assert relative_distance(real + 1, real) == pytest.approx(relative_distance(7 * real + 7, 7 * real), rel=1e-4)
    assert relative_distance(torch.zeros(9, 3), torch.zeros(9, 3)) == 0


def test_spread_is_the_root_of_the_total_variance() -> None:
    assert spread(torch.tensor([[0.0, 0.0], [2.0, 4.0]])) == pytest.approx(10**0.5)


def test_a_generator_that_ignores_its_noise_is_detected(
    mode: Mode, gan_settings: Callable[..., GanSettings], images
) -> None:  # type: ignore[no-untyped-def]
    learner = GanLearner(gan_settings(), 28, 1, mode)
    with torch.no_grad():
        next(learner.ema.network.parameters()).zero_()
    diagnostics = learner.probe(images)
    assert diagnostics["diversity"] == pytest.approx(0, abs=1e-4)
    row = {"logit_real": 1.0, "logit_fake": -1.0, **diagnostics}
    assert learner.diagnose({"n_images": 199 * 8.0, **row}, None) is None  # too early
    assert "the generator collapsed" in str(learner.diagnose({"n_images": 200 * 8.0, **row}, None))


def test_an_encoder_that_ignores_the_image_is_detected_after_the_warm_up(
    mode: Mode, vae_settings: Callable[..., VaeSettings], images
) -> None:  # type: ignore[no-untyped-def]
    learner = VaeLearner(vae_settings(n_images=16_000, kl_warmup=0.5), 28, 1, mode)
    with torch.no_grad():
        [*learner.ema_encoder.network.parameters()][-2].zero_()
    diagnostics = {"kl": 20.0} | learner.probe(images)
    assert diagnostics["active_units"] == 0
    assert learner.diagnose({"n_images": 8_000.0, **diagnostics}, None) is None
    assert "the posterior collapsed" in str(learner.diagnose({"n_images": 8_008.0, **diagnostics}, None))


def test_a_diverged_posterior_is_detected_from_the_first_row_on(
    mode: Mode, vae_settings: Callable[..., VaeSettings]
) -> None:
    learner = VaeLearner(vae_settings(), 28, 1, mode)  # codes of length 4
    row = {"n_images": 16.0, "probe": None, "active_units": None}
    assert learner.diagnose({"kl": 40.0, **row}, None) is None
    assert "the posterior diverged" in str(learner.diagnose({"kl": 41.0, **row}, None))


def test_a_large_kl_early_in_a_long_warm_up_is_healthy(
    mode: Mode, vae_settings: Callable[..., VaeSettings], images
) -> None:  # type: ignore[no-untyped-def]
    learner = VaeLearner(vae_settings(n_images=10**9, probe_every=10**9, log_every=160), 28, 1, mode)
    train_state = TrainState()
    for _ in fit(learner, Eager(learner), MemoryMapped(images, Sampler(64, 0)), images, train_state):
        if train_state.n_images >= 3200:
            break
    assert max(row["kl"] for row in train_state.rows) > 40  # type: ignore[type-var, operator]
