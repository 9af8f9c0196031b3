"""What counts as ill, and what does not."""

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


def test_collapse_is_a_want_of_diversity() -> None:
    assert mode_collapsed(0.8) is None
    assert mode_collapsed(None) is None
    assert "vary 0.05 times as much" in str(mode_collapsed(0.05))


def test_a_discriminator_has_won_by_its_margin() -> None:
    assert discriminator_dominates(4.0, -4.0, 0.3, 0.1) is None
    assert discriminator_dominates(-30.0, 30.0, 0.3, 0.1) is None  # it is wrong, which it can mend
    assert "25 logits apart" in str(discriminator_dominates(10.0, -15.0, None, None))


def test_a_smaller_margin_will_do_where_the_probe_gets_worse() -> None:
    assert discriminator_dominates(6.0, -7.0, 0.11, 0.1) is None
    assert discriminator_dominates(6.0, -7.0, None, 0.1) is None
    assert "13 logits apart" in str(discriminator_dominates(6.0, -7.0, 0.3, 0.1))


def test_a_smaller_margin_will_do_where_the_images_never_were_good() -> None:
    assert discriminator_dominates(6.0, -7.0, 0.9, 0.9) is None
    assert discriminator_dominates(4.0, -5.0, 1.1, 1.1) is None
    assert "13 logits apart" in str(discriminator_dominates(6.0, -7.0, 1.1, 1.1))


def test_a_generator_falls_apart_when_good_images_turn_useless() -> None:
    assert generator_diverged(0.9, 0.1) is None  # many times worse, and still images
    assert generator_diverged(1.4, 0.8) is None  # it never was much better
    assert generator_diverged(1.4, None) is None
    assert generator_diverged(None, 0.1) is None
    assert "14 times as far" in str(generator_diverged(1.4, 0.1))


def test_active_units_are_the_dimensions_that_vary() -> None:
    means = torch.zeros(100, 4)
    means[:, 1] = torch.linspace(-1, 1, 100)
    means[:, 3] = torch.linspace(-0.1, 0.1, 100)  # variance 0.0034, below 0.01
    assert active_units(means) == 1


def test_a_code_is_ignored_when_almost_none_of_it_is_active() -> None:
    assert posterior_collapsed(1.0, 16) is None
    assert "0 of its 16 dimensions" in str(posterior_collapsed(0.0, 16))
    assert "2 of its 64 dimensions" in str(posterior_collapsed(2.0, 64))


def test_a_code_explodes_where_it_costs_more_than_any_image_is_worth() -> None:
    assert posterior_diverged(16 * 10.0, 1.0, 16) is None
    assert posterior_diverged(None, 1.0, 16) is None
    assert "10.1 nats per dimension" in str(posterior_diverged(16 * 10.1, 1.0, 16))
    assert posterior_diverged(16 * 100.0, 0.1, 16) is None  # early in the warm-up nothing keeps it near


def test_the_probes_unit_is_the_distance_to_one_mean_point() -> None:
    real = torch.randn(400, 3, generator=torch.Generator().manual_seed(0))
    assert relative_distance(real, real) == 0
    assert relative_distance(real.mean(0).expand(400, 3), real) == pytest.approx(1)
    assert relative_distance(real + 1, real) == pytest.approx(relative_distance(7 * real + 7, 7 * real), rel=1e-4)
    assert relative_distance(torch.zeros(9, 3), torch.zeros(9, 3)) == 0


def test_spread_is_the_root_of_the_total_variance() -> None:
    assert spread(torch.tensor([[0.0, 0.0], [2.0, 4.0]])) == pytest.approx(10**0.5)


def test_a_generator_that_ignores_its_noise_is_told(
    mode: Mode, gan_settings: Callable[..., GanSettings], images
) -> None:  # type: ignore[no-untyped-def]
    learner = GanLearner(gan_settings(), 28, 1, mode)
    with torch.no_grad():
        next(learner.ema.network.parameters()).zero_()
    diagnostics = learner.probe(images)
    assert diagnostics["diversity"] == pytest.approx(0, abs=1e-4)
    row = {"logit_real": 1.0, "logit_fake": -1.0, **diagnostics}
    assert learner.diagnose({"n_images": 199 * 8.0, **row}, None) is None  # too early to say
    assert "the generator collapsed" in str(learner.diagnose({"n_images": 200 * 8.0, **row}, None))


def test_an_encoder_that_says_nothing_is_told_after_the_warm_up(
    mode: Mode, vae_settings: Callable[..., VaeSettings], images
) -> None:  # type: ignore[no-untyped-def]
    learner = VaeLearner(vae_settings(n_images=16_000, kl_warmup=0.5), 28, 1, mode)
    with torch.no_grad():
        [*learner.ema_encoder.network.parameters()][-2].zero_()
    diagnostics = {"kl": 20.0} | learner.probe(images)
    assert diagnostics["active_units"] == 0
    assert learner.diagnose({"n_images": 8_000.0, **diagnostics}, None) is None
    assert "the code collapsed" in str(learner.diagnose({"n_images": 8_008.0, **diagnostics}, None))


def test_a_code_that_explodes_is_told_from_the_first_row_on(
    mode: Mode, vae_settings: Callable[..., VaeSettings]
) -> None:
    learner = VaeLearner(vae_settings(), 28, 1, mode)  # a code of 4
    row = {"n_images": 16.0, "probe": None, "active_units": None}
    assert learner.diagnose({"kl": 40.0, **row}, None) is None
    assert "the code exploded" in str(learner.diagnose({"kl": 41.0, **row}, None))


def test_a_healthy_code_far_from_the_prior_early_in_a_long_warm_up_raises_no_alarm(
    mode: Mode, vae_settings: Callable[..., VaeSettings], images
) -> None:  # type: ignore[no-untyped-def]
    learner = VaeLearner(vae_settings(n_images=10**9, probe_every=10**9, log_every=160), 28, 1, mode)
    train_state = TrainState()
    for _ in fit(learner, Eager(learner), MemoryMapped(images, Sampler(64, 0)), images, train_state):
        if train_state.n_images >= 3200:
            break
    assert max(row["kl"] for row in train_state.rows) > 40  # type: ignore[type-var, operator]
