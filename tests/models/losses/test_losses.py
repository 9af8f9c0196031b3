"""Each loss equals its equation, computed by hand or with torch.distributions."""

import math

import pytest
import torch
from torch import nn

from models.losses.adversarial import discriminator_loss, generator_loss, gradient_penalty
from models.losses.elbo import bernoulli, flow_nll, kl_to_standard_normal, optimal_sigma, summed_mse

REAL, FAKE = torch.tensor([2.0, -1.0]), torch.tensor([0.5, -3.0])


def sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))


def test_cross_entropy_of_the_discriminator() -> None:
    by_hand = -sum(math.log(sigmoid(x)) for x in (2, -1)) / 2 - sum(math.log(1 - sigmoid(x)) for x in (0.5, -3)) / 2
    assert discriminator_loss("non_saturating", REAL, FAKE).item() == pytest.approx(by_hand, abs=1e-6)
    assert discriminator_loss("minimax", REAL, FAKE).item() == pytest.approx(by_hand, abs=1e-6)


def test_generator_losses_by_hand() -> None:
    minimax = sum(math.log(1 - sigmoid(x)) for x in (0.5, -3)) / 2
    non_saturating = -sum(math.log(sigmoid(x)) for x in (0.5, -3)) / 2
    assert generator_loss("minimax", REAL, FAKE).item() == pytest.approx(minimax, abs=1e-6)
    assert generator_loss("non_saturating", REAL, FAKE).item() == pytest.approx(non_saturating, abs=1e-6)
    assert generator_loss("hinge", REAL, FAKE).item() == pytest.approx(1.25)


def test_hinge_is_flat_beyond_its_margin() -> None:
    assert discriminator_loss("hinge", REAL, FAKE).item() == pytest.approx((0 + 2) / 2 + (1.5 + 0) / 2)


def test_relativistic_losses_are_symmetric() -> None:
    by_hand = (math.log1p(math.exp(0.5 - 2)) + math.log1p(math.exp(-3 + 1))) / 2
    assert discriminator_loss("relativistic", REAL, FAKE).item() == pytest.approx(by_hand, abs=1e-6)
    swapped = discriminator_loss("relativistic", FAKE, REAL)
    assert generator_loss("relativistic", REAL, FAKE).item() == pytest.approx(swapped.item(), abs=1e-6)


@pytest.mark.parametrize("loss", ["minimax", "non_saturating", "hinge", "relativistic"])
def test_each_loss_falls_when_its_network_improves(loss: str) -> None:
    better = FAKE + 0.1  # the discriminator takes more generated images for real
    assert generator_loss(loss, REAL, better) < generator_loss(loss, REAL, FAKE)  # type: ignore[arg-type]
    assert discriminator_loss(loss, REAL, better) > discriminator_loss(loss, REAL, FAKE)  # type: ignore[arg-type]


def test_gradient_penalty_of_a_linear_map_is_its_squared_norm() -> None:
    images = torch.randn(3, 1, 4, 4, requires_grad=True)
    weight = nn.Parameter(torch.randn(16))
    penalty = gradient_penalty(images.flatten(1) @ weight, images, gamma=3.0)
    assert penalty.item() == pytest.approx(1.5 * weight.square().sum().item(), rel=1e-6)
    penalty.backward()
    assert torch.allclose(weight.grad, 3 * weight)  # type: ignore[arg-type]


def test_kl_is_zero_at_the_prior_and_follows_the_closed_form() -> None:
    zero = torch.zeros(2, 3)
    assert kl_to_standard_normal(zero, zero, zero + 1).abs().max() == 0
    wide = torch.distributions.Normal(torch.tensor([[0.7]]), torch.tensor([[2.0]]))
    expected = torch.distributions.kl_divergence(wide, torch.distributions.Normal(0.0, 1.0))
    kl = kl_to_standard_normal(torch.tensor([[0.7]]), torch.tensor([[math.log(4.0)]]), torch.tensor([[4.0]]))
    assert torch.allclose(kl, expected)


def test_reductions_sum_over_pixels_and_average_over_the_batch() -> None:
    output, target = torch.zeros(5, 2, 3, 3), torch.full((5, 2, 3, 3), 0.5)
    assert summed_mse(output, target).item() == pytest.approx(0.25 * 18)
    assert bernoulli(output, target).item() == pytest.approx(math.log(2) * 18, rel=1e-6)


def test_optimal_sigma_is_the_gaussian_likelihood_at_its_best_sigma() -> None:
    torch.manual_seed(0)
    output, target = torch.zeros(8, 1, 5, 5), torch.randn(8, 1, 5, 5) * 0.3
    rmse = target.square().mean().sqrt()

    def nll(sigma: torch.Tensor) -> float:
        gaussian = torch.distributions.Normal(output, sigma)
        return float(-gaussian.log_prob(target).sum((1, 2, 3)).mean()) - 25 * math.log(2 * math.pi) / 2

    assert optimal_sigma(output, target).item() == pytest.approx(nll(rmse), abs=0.2)  # the floor is soft
    assert nll(rmse) < min(nll(rmse * 1.05), nll(rmse * 0.95))


def test_sigma_never_falls_below_its_minimum() -> None:
    """A perfect reconstruction has log sigma = -6 in each of 25 pixels, not minus infinity."""
    images = torch.rand(4, 1, 5, 5)
    assert optimal_sigma(images, images).item() == pytest.approx(-6 * 25, abs=1e-3)


def test_flow_nll_of_an_affine_map_is_the_gaussian_log_density() -> None:
    codes = torch.randn(100, 3) * 2 + 1
    noise, log_determinant = (codes - 1) / 2, torch.full((100,), -3 * math.log(2))
    expected = -torch.distributions.Normal(1.0, 2.0).log_prob(codes).sum(1).mean()
    assert flow_nll(noise, log_determinant).item() == pytest.approx(expected.item(), rel=1e-5)
