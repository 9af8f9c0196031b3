"""Generated images against real ones: from features to the figures of data/metrics, named by their protocol."""

import numpy as np
from numpy.typing import ArrayLike

from tasks.common.params import EvaluateSettings
from tasks.metrics.diversity import vendi_score
from tasks.metrics.features import Features, as_features, as_pair, taken
from tasks.metrics.frechet import (
    Moments,
    extrapolated_frechet_distance,
    frechet_distance,
    relative_frechet_distance,
)
from tasks.metrics.kernel import kernel_distance
from tasks.metrics.memorisation import Memorisation, memorisation
from tasks.metrics.nearest import nearest
from tasks.metrics.neighbours import Membership, membership
from tasks.reference.evaluator import Evaluator
from tasks.reference.statistics import NEIGHBOURHOOD, RealFeatures, neighbours, subset_size


def among(features: Features | np.ndarray, real: RealFeatures, settings: EvaluateSettings) -> Membership:
    """Who lies among whom, of as many images with these features, float [N, F], as there are test images."""
    count = min(len(features), len(real.test))
    return membership(features[:count], real.test[:count], neighbours(count, settings))


def score(
    given: ArrayLike, real: RealFeatures, settings: EvaluateSettings, members: Membership | None = None
) -> dict[str, float]:
    """Every figure of images with these features, float [N, F], N = `settings.n_images` or what there is.

    `members` is what `among` says of them, where the caller knows it already.
    """
    size, features = thousands(settings.n_images), as_features(given, real.test.device)
    moments, count = Moments.of(features), min(len(features), len(real.test))
    distances = {
        f"fd_{size}_test": frechet_distance(moments, real.test_moments),
        f"fd_{size}_train": frechet_distance(moments, real.train_moments),
        "fd_infinite_test": extrapolated_frechet_distance(features, real.test_moments, seed=settings.seed),
        "fd_relative": relative_frechet_distance(moments, real.test_moments),
    }
    kernel = kernel_distance(
        features, real.test, subsets=settings.subsets, subset_size=subset_size(count, settings), seed=settings.seed
    )
    distances |= {f"kd_{size}_test": kernel.mean, f"kd_{size}_test_stderr": kernel.standard_error}
    near = (members or among(features, real, settings)).scores()
    shares = {"precision": near.precision, "recall": near.recall, "density": near.density, "coverage": near.coverage}
    return rounded(distances | shares | {"vendi": vendi_score(features)})


def memorised(features: np.ndarray, real: RealFeatures) -> Memorisation:
    """How near the training images lie to images with these features, next to held-out ones."""
    return real.nearness.evaluator(features)


def strangest(features: np.ndarray, real: RealFeatures) -> np.ndarray:
    """Rows of features, float [N, F], int64 [N]: first the images that are farthest from any held-out one."""
    distances, _ = nearest(*as_pair(features, real.test), 1)
    rows: np.ndarray = np.argsort(-distances[:, 0], kind="stable")
    return rows


def rarest_label(evaluator: Evaluator, features: np.ndarray, real: RealFeatures) -> tuple[int, float] | None:
    """The label that images with these features, float [N, F], show least for its share, and how often for that.

    Shares are those that the judge reads off either side, as a multiple of the held-out images'; None where it learnt
    no labels.
    """
    labels, theirs = evaluator.labels(features), evaluator.labels(real.test)
    if labels is None or theirs is None:
        return None
    expected = np.bincount(theirs) / len(theirs)
    found = np.bincount(labels, minlength=len(expected))[: len(expected)] / len(labels)
    times = np.divide(found, expected, out=np.full(len(expected), np.inf), where=expected > 0)
    return int(times.argmin()), float(times.min())


def by_class(
    features: np.ndarray, labels: np.ndarray | None, real: RealFeatures, names: list[str]
) -> dict[str, dict[str, float]]:
    """By label, its share of the images, that of the test images, and the relative Frechet distance between the two.

    Empty where there are no labels; the distance is left out where either side has too few images for a covariance.
    """
    if labels is None or real.test_labels is None:
        return {}
    return {
        name: _class_metrics(features[labels == label], len(features), real, real.test_labels == label)
        for label, name in enumerate(names)
    }


def _class_metrics(mine: np.ndarray, count: int, real: RealFeatures, of_class: np.ndarray) -> dict[str, float]:
    theirs = taken(real.test, np.flatnonzero(of_class))
    figures = {"share": len(mine) / count, "share_real": len(theirs) / len(real.test)}
    if min(len(mine), len(theirs)) > real.test.shape[1]:
        figures["fd_relative"] = relative_frechet_distance(
            Moments.of(as_features(mine, theirs.device)), Moments.of(theirs)
        )
    return rounded(figures)


def real_floor(real: RealFeatures, settings: EvaluateSettings) -> dict[str, float]:
    """What real images score: training ones against the held-out ones, and these against all training ones."""
    rows = np.sort(np.random.default_rng(0).permutation(len(real.train))[: settings.n_images])
    against_train = frechet_distance(real.test_moments, real.train_moments)
    half = memorisation(real.test[::2], real.test[1::2], real.train, neighbours=min(NEIGHBOURHOOD, len(real.train) - 1))
    others = {f"fd_{thousands(settings.n_images)}_train": against_train, "memorised": half.share}
    return score(taken(real.train, rows), real, settings) | rounded(others)


def relative_distance(features: np.ndarray, real: RealFeatures) -> float:
    """The relative Frechet distance alone, against the held-out images."""
    return relative_frechet_distance(Moments.of(as_features(features, real.test.device)), real.test_moments)


def thousands(count: int) -> str:
    """10000 as `10k`, 2500 as `2500`."""
    return f"{count // 1000}k" if count % 1000 == 0 else str(count)


def rounded(figures: dict[str, float]) -> dict[str, float]:
    """Six significant digits: more would be the noise of sums in another order."""
    return {name: float(f"{value:.6g}") for name, value in figures.items()}
