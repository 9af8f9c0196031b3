"""The flow is invertible, its determinant is right, and it learns what N(0, I) misses."""

from dataclasses import replace

import pytest
import torch

from models.learners.prior import Codes, fit_prior
from models.networks.prior import FlowPrior
from models.training.device import Mode
from models.training.random import generator


def shaken(length: int) -> FlowPrior:
    torch.manual_seed(0)
    prior = FlowPrior(length, layers=3, width=8)
    for parameter in prior.parameters():
        parameter.data += torch.randn_like(parameter) * 0.3
    prior.mean.copy_(torch.randn(length))
    prior.spread.copy_(torch.rand(length) + 0.5)
    return prior.double()


@pytest.mark.parametrize("length", [2, 5])
def test_density_is_that_of_the_change_of_variables(length: int) -> None:
    prior = shaken(length)
    noise = torch.randn(1, length, dtype=torch.float64)
    codes = prior(noise)
    jacobian = torch.autograd.functional.jacobian(lambda z: prior(z[None])[0], noise[0])
    gaussian = -torch.distributions.Normal(0.0, 1.0).log_prob(noise).sum()
    expected = gaussian + torch.linalg.slogdet(jacobian).logabsdet  # type: ignore[arg-type]
    assert prior.nll(codes).item() == pytest.approx(expected.item(), rel=1e-9)


def test_fit_finds_two_clusters(mode: Mode) -> None:
    torch.manual_seed(0)
    mean = torch.where(torch.rand(4000, 1) < 0.5, -3.0, 3.0) + torch.zeros(4000, 2)
    log_variance = torch.full((4000, 2), -4.0)
    prior, seen = FlowPrior(2, layers=6, width=32), []
    before = prior.nll(mean).item()
    codes = Codes(mean, log_variance, None)
    fit_prior(prior, codes, steps=600, seed=0, mode=mode, seen=lambda count, nll: seen.append((count, nll)))
    assert len(seen) == 600
    assert seen[-1][1] < before - 3
    drawn = prior(torch.randn(2000, 2)).detach()
    near = (drawn.abs() - 3).abs().max(1).values < 0.7
    assert near.float().mean() > 0.9
    assert 0.35 < (drawn[:, 0] > 0).float().mean() < 0.65


def test_its_random_numbers_are_drawn_where_the_codes_lie(mode: Mode, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else each step would wait for two copies."""
    asked = []

    def watched(seed: int, purpose: str, n_images: int = 0, device: torch.device | str = "cpu") -> torch.Generator:
        asked.append(device)
        return generator(seed, purpose, n_images)

    monkeypatch.setattr("models.learners.prior.generator", watched)
    prior, there = FlowPrior(2, layers=1, width=4), replace(mode, reason="another object, to be known again")
    fit_prior(prior, Codes(torch.randn(50, 2), torch.zeros(50, 2), None), 3, 0, there, lambda count, nll: None)
    assert asked == [there.device] * 3
    assert all(one is there.device for one in asked)


def test_a_captured_fit_takes_the_same_steps_and_seldom_asks_for_the_loss(mode: Mode) -> None:
    torch.manual_seed(0)
    codes = Codes(torch.randn(2000, 4) ** 3, torch.full((2000, 4), -3.0), None)

    def stand_in(body):  # type: ignore[no-untyped-def]
        for _ in range(3):
            body()
        return body

    fitted, counts = [], []
    for how in (mode, replace(mode, captured=True)):
        torch.manual_seed(0)
        prior, seen = FlowPrior(4, layers=2, width=8), []
        fit_prior(prior, codes, 120, 0, how, lambda count, nll, told=seen: told.append(count), stand_in)
        fitted.append(prior.state_dict())
        counts.append(seen)
    torch.testing.assert_close(fitted[0], fitted[1], rtol=1e-3, atol=1e-4)
    assert counts == [[1024] * 120, [51200, 51200, 20480]]


def test_a_label_picks_its_cluster(mode: Mode) -> None:
    torch.manual_seed(0)
    label = torch.arange(4000) % 3
    mean = (label[:, None] - 1.0) * 3 + torch.zeros(4000, 2)
    prior = FlowPrior(2, layers=4, width=32, classes=3)
    fit_prior(prior, Codes(mean, torch.full((4000, 2), -4.0), label), 400, 0, mode, lambda *_: None)
    for wanted in range(3):
        codes = prior(torch.randn(500, 2), torch.full((500,), wanted)).detach()
        assert ((codes - (wanted - 1) * 3).abs().max(1).values < 0.7).float().mean() > 0.95
    right, wrong = prior.nll(mean, label).item(), prior.nll(mean, (label + 1) % 3).item()
    assert right < wrong - 10


def test_one_dimension_is_refused() -> None:
    with pytest.raises(ValueError, match="length 2"):
        FlowPrior(1, 1, 1)
