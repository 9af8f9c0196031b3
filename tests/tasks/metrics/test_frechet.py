"""The Fréchet distance against closed forms and torchmetrics, and where rounding errors matter."""

import numpy as np
import pytest
import torch
from torchmetrics.image.fid import FrechetInceptionDistance

from tasks.metrics import frechet
from tasks.metrics.frechet import (
    Moments,
    extrapolated_frechet_distance,
    frechet_distance,
    relative_frechet_distance,
)


class PassThrough(torch.nn.Module):
    """A feature network whose features are its input."""

    num_features = 8

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return features


def correlated(seed: int, count: int, length: int = 8) -> np.ndarray:
    random = np.random.default_rng(seed)
    return random.standard_normal((count, length)) @ random.standard_normal((length, length)) + random.random(length)


def gaussian(mean: list[float], variances: list[float]) -> Moments:
    """Exact moments with a diagonal covariance."""
    return Moments(torch.tensor(mean).double(), torch.tensor(variances).double().diag(), 10**9)


def test_moments_are_those_of_numpy() -> None:
    features = correlated(0, 50)
    moments = Moments.of(features)
    np.testing.assert_allclose(moments.mean, features.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(moments.covariance, np.cov(features, rowvar=False), rtol=1e-10, atol=1e-12)
    assert moments.count == 50


def test_zero_on_identity_and_symmetric() -> None:
    a, b = Moments.of(correlated(0, 300)), Moments.of(correlated(1, 200))
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-12 * np.trace(a.covariance))
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a), rel=1e-12)
    assert frechet_distance(a, b) > 0.1


def test_diagonal_gaussians_have_a_closed_form() -> None:
    """Commuting covariances: |m|^2 + sum (s_a - s_b)^2, here 5^2 + (3 - 1)^2 + (1 - 2)^2 = 30."""
    a = gaussian([3.0, 0.0], [9.0, 1.0])
    b = gaussian([0.0, 4.0], [1.0, 4.0])
    assert frechet_distance(a, b) == pytest.approx(30, rel=1e-12)


def test_samples_reach_the_closed_form() -> None:
    """N(0, I) against N(1, 4 I) in D dimensions is 2 D.

    The error of the distance of N samples has as dominant terms the mean's shift,
    2 sqrt(5 D / N), and the scales' (variance of a sampled standard deviation s is s^2 / 2N), about 2 sqrt(5 D / 2N);
    four such deviations plus the bias, at most 5 D (D + 1) / N, bound the error.
    """
    random, length, count = np.random.default_rng(3), 4, 20_000
    a = Moments.of(random.standard_normal((count, length)))
    b = Moments.of(1 + 2 * random.standard_normal((count, length)))
    tolerance = 4 * 2 * np.sqrt(7.5 * length / count) + 5 * length * (length + 1) / count
    assert frechet_distance(a, b) == pytest.approx(2 * length, abs=tolerance)
    assert tolerance < 0.5


@pytest.mark.parametrize("count", [6, 400])  # 6 samples in 8 dimensions: singular covariances
def test_equals_torchmetrics(count: int) -> None:
    real, generated = correlated(0, count), correlated(1, count)
    peer = FrechetInceptionDistance(feature=PassThrough()).set_dtype(torch.float64)
    peer.update(torch.from_numpy(real), real=True)
    peer.update(torch.from_numpy(generated), real=False)
    ours = frechet_distance(Moments.of(generated), Moments.of(real))
    assert ours == pytest.approx(float(peer.compute()), rel=1e-6)


def test_constant_features_and_tiny_variances_are_handled() -> None:
    features = correlated(0, 300)
    features[:, 0] = 7.0
    features[:, 1] *= 1e-9
    moments = Moments.of(features)
    assert frechet_distance(moments, moments) == pytest.approx(0, abs=1e-12 * np.trace(moments.covariance))


def test_relative_distance_is_one_for_the_mean_and_independent_of_scale() -> None:
    real, generated = correlated(0, 300), correlated(1, 300)
    mean_only = np.repeat(real.mean(axis=0, keepdims=True), 300, axis=0)
    assert relative_frechet_distance(Moments.of(mean_only), Moments.of(real)) == pytest.approx(1, rel=1e-9)
    small = relative_frechet_distance(Moments.of(generated), Moments.of(real))
    large = relative_frechet_distance(Moments.of(1000 * generated), Moments.of(1000 * real))
    assert small == pytest.approx(large, rel=1e-9)
    swapped = relative_frechet_distance(Moments.of(real), Moments.of(generated))
    assert small != pytest.approx(swapped, rel=0.01)  # the unit is the real images' variance


def test_extrapolation_removes_the_bias_of_few_images() -> None:
    """Equal distributions have distance 0; 500 images give about D (D + 1) / 4 / 500 = 0.036 more.

    The mean of 20 trials has a quarter of the deviation of one.
    """
    real, trials = gaussian([0.0] * 8, [1.0] * 8), range(20)
    samples = [np.random.default_rng(seed).standard_normal((500, 8)) for seed in trials]
    plain = np.array([frechet_distance(Moments.of(sample), real) for sample in samples])
    extrapolated = np.array([extrapolated_frechet_distance(sample, real, seed=1) for sample in samples])
    assert plain.mean() > 0.03
    assert abs(extrapolated.mean()) < plain.mean() / 5


def test_extrapolation_of_a_true_distance_keeps_it() -> None:
    """N(1, I) against N(0, I) in 8 dimensions: 8, with a deviation of 2 sqrt(8 / 2000) for 2,000 images."""
    real = gaussian([0.0] * 8, [1.0] * 8)
    sample = 1 + np.random.default_rng(0).standard_normal((2000, 8))
    assert extrapolated_frechet_distance(sample, real) == pytest.approx(8, abs=4 * 2 * np.sqrt(8 / 2000))


def test_refuses_features_without_a_distance() -> None:
    with pytest.raises(ValueError, match="N >= 2"):
        Moments.of(np.zeros((1, 4)))
    with pytest.raises(ValueError, match="NaN"):
        Moments.of([[0.0, np.nan], [0.0, 1.0]])
    with pytest.raises(ValueError, match="all equal"):
        relative_frechet_distance(Moments.of(correlated(0, 20)), Moments.of(np.ones((20, 8))))


def test_large_matrices_need_one_root_and_no_singular_values(monkeypatch: pytest.MonkeyPatch) -> None:
    """With 2,048 features a GPU takes seconds for each of these, and an interval needs hundreds of distances."""
    monkeypatch.setattr(frechet, "LAPACK_LIMIT", 4)
    real, roots = Moments.of(correlated(0, 300)), []
    eigh = torch.linalg.eigh
    monkeypatch.setattr(torch.linalg, "eigh", lambda matrix: roots.append(matrix) or eigh(matrix))
    monkeypatch.setattr(torch.linalg, "svdvals", lambda _: pytest.fail("singular values were taken"))
    for seed in range(1, 4):
        frechet_distance(Moments.of(correlated(seed, 200)), real)
    assert len(roots) == 1


@pytest.mark.parametrize("count", [300, 6])  # with 6 images both covariances are singular
def test_both_methods_give_the_same_distance(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    a, b = Moments.of(correlated(1, count)), Moments.of(correlated(0, count))
    short = frechet_distance(a, b)
    monkeypatch.setattr(frechet, "LAPACK_LIMIT", 4)
    scale = float(a.covariance.trace() + b.covariance.trace())
    assert frechet_distance(a, b) == pytest.approx(short, abs=1e-7 * scale)
