"""Every distance against torch-fidelity, torchmetrics and prdc, on the same features in float64."""

from dataclasses import asdict

import numpy as np
import pytest
import torch
from prdc import compute_prdc  # type: ignore[import-untyped]
from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_features_to_statistics, fid_statistics_to_metric
from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN, kid_features_to_metric
from torch_fidelity.metric_prc import calculate_precision_recall_full, calculate_precision_recall_part
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import KernelInceptionDistance

from tasks.metrics.frechet import Moments, frechet_distance
from tasks.metrics.kernel import kernel_distance, squared_mmd
from tasks.metrics.neighbours import membership

KERNEL = {"kid_kernel": "poly", "kid_kernel_poly_degree": 3, "kid_kernel_poly_gamma": None, "kid_kernel_poly_coef0": 1}
SHAPE, LENGTH = (3, 2, 4), 24


class Flatten(torch.nn.Module):
    """A feature network whose features are the pixels."""

    num_features = LENGTH

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.flatten(1)


def features(seed: int, count: int, shift: float = 0.0, scale: float = 1.0) -> np.ndarray:
    """Correlated and skewed features with a positive mean, as after a ReLU."""
    random = np.random.default_rng(seed)
    mixing = np.random.default_rng(99).standard_normal((LENGTH, LENGTH)) / np.sqrt(LENGTH)
    vectors: np.ndarray = np.maximum(0.5 + shift + scale * random.standard_normal((count, LENGTH)) @ mixing, 0)
    return vectors


REAL, GENERATED = features(0, 400), features(1, 300, 0.1, 0.8)


def kid(generated: np.ndarray, real: np.ndarray, subsets: int, size: int) -> float:
    """torch-fidelity's kernel distance."""
    settings = {"kid_subsets": subsets, "kid_subset_size": size, "verbose": False, **KERNEL}
    found = kid_features_to_metric(  # type: ignore[no-untyped-call]
        torch.from_numpy(generated), torch.from_numpy(real), **settings
    )
    return float(found[KEY_METRIC_KID_MEAN])


def fid(generated: np.ndarray, real: np.ndarray) -> float:
    """torch-fidelity's Fréchet distance."""
    first, second = (fid_features_to_statistics(torch.from_numpy(each)) for each in (generated, real))  # type: ignore[no-untyped-call]
    found = fid_statistics_to_metric(first, second, verbose=False)  # type: ignore[no-untyped-call]
    return float(found[KEY_METRIC_FID])


@pytest.mark.parametrize("count", [20, 300])  # 20 images in 24 dimensions: a singular covariance
def test_frechet_distance_is_torch_fidelitys(count: int) -> None:
    peer = fid(GENERATED[:count], REAL)
    ours = frechet_distance(Moments.of(GENERATED[:count]), Moments.of(REAL))
    assert ours == pytest.approx(peer, rel=1e-5)
    assert ours > 0.1


def test_frechet_distance_is_torchmetrics() -> None:
    peer = FrechetInceptionDistance(feature=Flatten(), input_img_size=SHAPE).set_dtype(torch.float64)
    peer.update(torch.from_numpy(REAL).reshape(-1, *SHAPE), real=True)
    peer.update(torch.from_numpy(GENERATED).reshape(-1, *SHAPE), real=False)
    ours = frechet_distance(Moments.of(GENERATED), Moments.of(REAL))
    assert ours == pytest.approx(float(peer.compute()), rel=1e-5)


def test_kernel_distance_is_torch_fidelitys_where_the_subset_is_all() -> None:
    ours = squared_mmd(GENERATED, REAL[:300])
    assert ours == pytest.approx(kid(GENERATED, REAL[:300], 1, 300), rel=1e-8)
    assert ours > 1e-3


def test_kernel_distance_is_torchmetrics_where_the_subset_is_all() -> None:
    peer = KernelInceptionDistance(feature=Flatten(), subsets=1, subset_size=300).set_dtype(torch.float64)
    peer.update(torch.from_numpy(REAL[:300]).reshape(-1, *SHAPE), real=True)
    peer.update(torch.from_numpy(GENERATED).reshape(-1, *SHAPE), real=False)
    assert squared_mmd(GENERATED, REAL[:300]) == pytest.approx(float(peer.compute()[0]), rel=1e-6)


def test_kernel_distance_over_random_subsets_agrees_within_its_error() -> None:
    """Both means estimate the distance of the whole pools, from other subsets."""
    far = features(2, 300, 0.5)
    found = kernel_distance(far, REAL, subsets=50, subset_size=100, seed=0)
    assert found.mean == pytest.approx(kid(far, REAL, 50, 100), abs=4 * found.standard_error)
    assert found.mean > 8 * found.standard_error  # the distance is far from 0


@pytest.mark.parametrize("peer", [calculate_precision_recall_full, calculate_precision_recall_part])
@pytest.mark.parametrize("k", [1, 3, 5])
def test_precision_and_recall_are_torch_fidelitys(peer, k: int) -> None:  # type: ignore[no-untyped-def]
    """Its arguments have the same order as ours, and an image is not its own neighbour."""
    ours = membership(GENERATED, REAL, k).scores()
    precision, recall = peer(torch.from_numpy(GENERATED), torch.from_numpy(REAL), k)
    assert [ours.precision, ours.recall] == pytest.approx([precision, recall], rel=1e-6)
    assert 0.05 < ours.recall < ours.precision - 0.05 < 1


@pytest.mark.parametrize("k", [1, 3, 5])
def test_the_four_scores_are_prdcs(k: int) -> None:
    """Its balls are open and ours are closed, which differs in ties alone."""
    peer = compute_prdc(real_features=REAL, fake_features=GENERATED, nearest_k=k)
    assert asdict(membership(GENERATED, REAL, k).scores()) == pytest.approx(peer, rel=1e-10)


def test_exchanged_sides_exchange_the_scores_in_every_library() -> None:
    ours, exchanged = membership(GENERATED, REAL, 5).scores(), membership(REAL, GENERATED, 5).scores()
    assert [ours.precision, ours.recall] == pytest.approx([exchanged.recall, exchanged.precision])
    assert abs(ours.density - exchanged.density) > 0.1
    assert abs(ours.coverage - exchanged.coverage) > 0.05
    peer = compute_prdc(real_features=GENERATED, fake_features=REAL, nearest_k=5)
    assert asdict(exchanged) == pytest.approx(peer, rel=1e-10)
