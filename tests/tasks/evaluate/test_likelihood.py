"""The terms of the ELBO against torch.distributions, and the importance-weighted bound against a known likelihood."""

import numpy as np
import pytest
import torch
from torch.distributions import Normal, kl_divergence

from tasks.evaluate.vae import gaussian_kl, gaussian_log_density, importance_weighted_bounds


def test_terms_equal_those_of_torch() -> None:
    random = np.random.default_rng(0)
    mean, log_variance, values = (random.standard_normal((7, 4)) for _ in range(3))
    normal = Normal(torch.from_numpy(mean), torch.from_numpy(np.exp(log_variance / 2)))
    expected = kl_divergence(normal, Normal(torch.zeros(7, 4).double(), torch.ones(7, 4).double()))
    np.testing.assert_allclose(gaussian_kl(mean, log_variance), expected.numpy(), rtol=1e-12)
    density = normal.log_prob(torch.from_numpy(values)).sum(1)  # type: ignore[no-untyped-call]
    np.testing.assert_allclose(gaussian_log_density(values, mean, log_variance), density.numpy(), rtol=1e-12)


def log_weights(count: int, samples: int) -> tuple[np.ndarray, float]:
    """Log-weights of z ~ N(0, 1), x | z ~ N(z, 1), so x ~ N(0, 2), with too wide a posterior, and the mean ln p(x)."""
    random = np.random.default_rng(1)
    x = np.sqrt(2) * random.standard_normal((count, 1, 1))
    mean, log_variance = x / 2, np.zeros_like(x)  # the true posterior is N(x / 2, 1 / 2)
    z = mean + random.standard_normal((count, samples, 1))
    weights = gaussian_log_density(x, z, 0.0) + gaussian_log_density(z, 0.0, 0.0)
    weights = weights - gaussian_log_density(z, mean, log_variance)
    return weights, float(gaussian_log_density(x, 0.0, np.log(2.0)).mean())


def test_the_bound_rises_with_samples_to_the_likelihood() -> None:
    """One sample leaves a gap of KL(q || p) = (2 - 1 - ln 2) / 2 = 0.153 nats, a thousand samples nearly none."""
    weights, truth = log_weights(2000, 1000)
    one, many = importance_weighted_bounds(weights[:, :1]), importance_weighted_bounds(weights)
    assert truth - one.mean() == pytest.approx((1 - np.log(2)) / 2, abs=0.1)
    assert many.mean() == pytest.approx(truth, abs=0.005)
    assert one.mean() < importance_weighted_bounds(weights[:, :10]).mean() < many.mean()


def test_equal_weights_give_their_own_value() -> None:
    found = importance_weighted_bounds(np.full((3, 5), -7.0))
    assert found == pytest.approx([-7, -7, -7])


def test_refuses_nan() -> None:
    with pytest.raises(ValueError, match="finite"):
        importance_weighted_bounds([[0.0, np.nan], [0.0, 1.0]])
