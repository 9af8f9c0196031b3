"""Generated images against real ones: from features to the figures of data/metrics, named by their protocol."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tasks.files import sha256_file
from tasks.judge import REFERENCE
from tasks.metrics.frechet import Moments, frechet_distance, relative_frechet_distance
from tasks.metrics.kernel import kernel_distance
from tasks.metrics.neighbours import neighbour_scores
from tasks.params import EvaluateSettings
from tasks.weights import load_tensors


@dataclass(frozen=True)
class RealFeatures:
    """What the judge said of the real images: held-out ones, a sample of the training ones, moments of all of those."""

    test: np.ndarray
    train: np.ndarray
    test_moments: Moments
    train_moments: Moments
    hash: str


def load_real(folder: Path = REFERENCE) -> RealFeatures:
    """Reads what the reference stage kept; raises UserError when it is missing or damaged."""
    path = folder / "features.safetensors"
    tensors = {name: tensor.numpy() for name, tensor in load_tensors(path)[0].items()}
    moments = Moments(tensors["train_mean"], tensors["train_covariance"], int(tensors["train_count"]))
    return RealFeatures(tensors["test"], tensors["train"], Moments.of(tensors["test"]), moments, sha256_file(path))


def score(features: np.ndarray, real: RealFeatures, settings: EvaluateSettings) -> dict[str, float]:
    """Every figure of images with these features, float [N, F], N = `settings.n_images` or what there is."""
    size = thousands(settings.n_images)
    moments, count = Moments.of(features), min(len(features), len(real.test))
    distances = {
        f"fd_{size}_test": frechet_distance(moments, real.test_moments),
        f"fd_{size}_train": frechet_distance(moments, real.train_moments),
        "fd_relative": relative_frechet_distance(moments, real.test_moments),
    }
    kernel = kernel_distance(
        features, real.test, subsets=settings.subsets, subset_size=subset_size(count, settings), seed=settings.seed
    )
    distances |= {f"kd_{size}_test": kernel.mean, f"kd_{size}_test_stderr": kernel.standard_error}
    near = neighbour_scores(features[:count], real.test[:count], neighbours(count, settings))
    shares = {"precision": near.precision, "recall": near.recall, "density": near.density, "coverage": near.coverage}
    return rounded(distances | shares)


def real_floor(real: RealFeatures, settings: EvaluateSettings) -> dict[str, float]:
    """What real images score: training ones against the held-out ones, and these against all training ones."""
    floor = score(real.train[: settings.n_images], real, settings)
    against_train = frechet_distance(real.test_moments, real.train_moments)
    return floor | rounded({f"fd_{thousands(settings.n_images)}_train": against_train})


def relative_distance(features: np.ndarray, real: RealFeatures) -> float:
    """The relative Frechet distance alone, against the held-out images."""
    return relative_frechet_distance(Moments.of(features), real.test_moments)


def protocol(real: RealFeatures, network: str, settings: EvaluateSettings) -> dict[str, Any]:
    """What two figures must share to be compared."""
    count = min(settings.n_images, len(real.test))
    return {
        "network": network,
        "reference": real.hash,
        "n_images": settings.n_images,
        "n_test": len(real.test),
        "n_neighbour_scores": count,
        "neighbours": neighbours(count, settings),
        "subsets": settings.subsets,
        "subset_size": subset_size(count, settings),
        "seed": settings.seed,
    }


def subset_size(count: int, settings: EvaluateSettings) -> int:
    """Images in a subset of the kernel distance: as set, or half of a small test split."""
    return min(settings.subset_size, count // 2)


def neighbours(count: int, settings: EvaluateSettings) -> int:
    """k as set, or one less than the images of a tiny test split."""
    return min(settings.neighbours, count - 1)


def thousands(count: int) -> str:
    """10000 as `10k`, 2500 as `2500`."""
    return f"{count // 1000}k" if count % 1000 == 0 else str(count)


def rounded(figures: dict[str, float]) -> dict[str, float]:
    """Six significant digits: more would be the noise of sums in another order."""
    return {name: float(f"{value:.6g}") for name, value in figures.items()}
