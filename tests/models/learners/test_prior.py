"""The flow is invertible with the right determinant, and fits distributions that N(0, I) does not."""

from dataclasses import replace

import pytest
import torch

from models.learners.prior import Codes, fit_prior
from models.networks.prior import FlowPrior
from models.training.device import Mode
from models.training.random import generator


def random_flow(length: int) -> FlowPrior:
    torch.manual_seed(0)
    prior = FlowPrior(length, layers=3, width=8)
    for parameter in prior.parameters():
        parameter.data += torch.randn_like(parameter) * 0.3
    prior.mean.copy_(torch.randn(length))
    prior.spread.copy_(torch.rand(length) + 0.5)
    return prior.double()


@pytest.mark.parametrize("length", [2, 5])
def test_density_follows_from_the_change_of_variables(length: int) -> None:
    prior = random_flow(length)
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
    prior, reports = FlowPrior(2, layers=6, width=32), []
    before = prior.nll(mean).item()
    codes = Codes(mean, log_variance, None)
    fit_prior(prior, codes, steps=600, seed=0, mode=mode, on_progress=lambda count, nll: reports.append((count, nll)))
    assert len(reports) == 600
    assert reports[-1][1] < before - 3
    samples = prior(torch.randn(2000, 2)).detach()
    near = (samples.abs() - 3).abs().max(1).values < 0.7
    assert near.float().mean() > 0.9
    assert 0.35 < (samples[:, 0] > 0).float().mean() < 0.65


def test_random_numbers_are_generated_on_the_device(mode: Mode, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise each step would wait for two copies."""
    devices = []

    def recording(seed: int, purpose: str, n_images: int = 0, device: torch.device | str = "cpu") -> torch.Generator:
        devices.append(device)
        return generator(seed, purpose, n_images)

    monkeypatch.setattr("models.learners.prior.generator", recording)
    prior = FlowPrior(2, layers=1, width=4)
    fit_prior(prior, Codes(torch.randn(50, 2), torch.zeros(50, 2), None), 3, 0, mode, lambda count, nll: None)
    assert len(devices) == 3
    assert all(device is mode.device for device in devices)


def test_a_captured_fit_takes_the_same_steps_and_reads_the_loss_rarely(mode: Mode) -> None:
    torch.manual_seed(0)
    codes = Codes(torch.randn(2000, 4) ** 3, torch.full((2000, 4), -3.0), None)

    def stand_in(body):  # type: ignore[no-untyped-def]
        for _ in range(3):
            body()
        return body

    fitted, counts = [], []
    for fit_mode in (mode, replace(mode, captured=True)):
        torch.manual_seed(0)
        prior, reports = FlowPrior(4, layers=2, width=8), []
        fit_prior(prior, codes, 120, 0, fit_mode, lambda count, _, reports=reports: reports.append(count), stand_in)
        fitted.append(prior.state_dict())
        counts.append(reports)
    torch.testing.assert_close(fitted[0], fitted[1], rtol=1e-3, atol=1e-4)
    assert counts == [[1024] * 120, [51200, 51200, 20480]]


def test_a_conditional_flow_samples_the_cluster_of_the_label(mode: Mode) -> None:
    torch.manual_seed(0)
    label = torch.arange(4000) % 3
    mean = (label[:, None] - 1.0) * 3 + torch.zeros(4000, 2)
    prior = FlowPrior(2, layers=4, width=32, classes=3)
    fit_prior(prior, Codes(mean, torch.full((4000, 2), -4.0), label), 400, 0, mode, lambda *_: None)
    for cluster in range(3):
        codes = prior(torch.randn(500, 2), torch.full((500,), cluster)).detach()
        assert ((codes - (cluster - 1) * 3).abs().max(1).values < 0.7).float().mean() > 0.95
    right, wrong = prior.nll(mean, label).item(), prior.nll(mean, (label + 1) % 3).item()
    assert right < wrong - 10


def test_codes_of_length_1_are_refused() -> None:
    with pytest.raises(ValueError, match="length 2"):
        FlowPrior(1, 1, 1)
