"""The metrics of data/metrics, from features of generated and of real images."""

from dataclasses import asdict

import numpy as np
from numpy.typing import ArrayLike

from tasks.common.params import EvaluateSettings
from tasks.metrics.diversity import vendi_score
from tasks.metrics.features import Features, as_features, as_pair, select_rows
from tasks.metrics.frechet import Moments, extrapolated_frechet_distance, frechet_distance, relative_frechet_distance
from tasks.metrics.kernel import kernel_distance
from tasks.metrics.memorisation import MemorisationTest
from tasks.metrics.nearest import nearest
from tasks.metrics.neighbours import Membership, membership
from tasks.reference.evaluator import Evaluator
from tasks.reference.statistics import RealFeatures, neighbours, subset_size


def neighbour_membership(features: Features | np.ndarray, real: RealFeatures, settings: EvaluateSettings) -> Membership:
    """Membership of as many generated images, features float [N, F], as there are test images, or of all."""
    count = min(len(features), len(real.test))
    return membership(features[:count], real.test[:count], neighbours(count, settings))


def score(
    generated: ArrayLike, real: RealFeatures, settings: EvaluateSettings, members: Membership | None = None
) -> dict[str, float]:
    """Computes all metrics of features float [N, F]; their names carry `settings.n_images`.

    `members` is the result of `neighbour_membership`, if the caller has it.
    """
    size, features = thousands(settings.n_images), as_features(generated, real.test.device)
    moments, count = Moments.of(features), min(len(features), len(real.test))
    subsets, seed = settings.subsets, settings.seed
    kernel = kernel_distance(features, real.test, subsets=subsets, subset_size=subset_size(count, settings), seed=seed)
    members = members or neighbour_membership(features, real, settings)
    return rounded(
        {
            f"fd_{size}_test": frechet_distance(moments, real.test_moments),
            f"fd_{size}_train": frechet_distance(moments, real.train_moments),
            "fd_infinite_test": extrapolated_frechet_distance(features, real.test_moments, seed=settings.seed),
            "fd_relative": relative_frechet_distance(moments, real.test_moments),
            f"kd_{size}_test": kernel.mean,
            f"kd_{size}_test_stderr": kernel.standard_error,
            **asdict(members.scores()),
            "vendi": vendi_score(features),
        }
    )


def farthest_first(features: np.ndarray, real: RealFeatures) -> np.ndarray:
    """Row numbers int64 [N] of features float [N, F], by falling distance to the nearest held-out image."""
    return np.argsort(-nearest(*as_pair(features, real.test), 1)[0][:, 0], kind="stable")


def rarest_label(evaluator: Evaluator, features: np.ndarray, real: RealFeatures) -> tuple[int, float] | None:
    """The rarest label of generated images, features float [N, F], relative to held-out ones, and its relative share.

    The evaluator classifies both sets. Returns None if it is no classifier.
    """
    labels, real_labels = evaluator.labels(features), evaluator.labels(real.test)
    if labels is None or real_labels is None:
        return None
    expected = np.bincount(real_labels) / len(real_labels)
    found = np.bincount(labels, minlength=len(expected))[: len(expected)] / len(labels)
    ratios = np.divide(found, expected, out=np.full(len(expected), np.inf), where=expected > 0)
    return int(ratios.argmin()), float(ratios.min())


def metrics_by_class(
    features: np.ndarray, labels: np.ndarray | None, real: RealFeatures, names: list[str]
) -> dict[str, dict[str, float]]:
    """By label: its share of the generated and of the test images, and the relative Fréchet distance of the two.

    The result is empty without labels. The distance is left out where a set is too small for a regular covariance.
    """
    if labels is None or real.test_labels is None:
        return {}
    found = {}
    for label, name in enumerate(names):
        ours = features[labels == label]
        theirs = select_rows(real.test, np.flatnonzero(real.test_labels == label))
        metrics = {"share": len(ours) / len(features), "share_real": len(theirs) / len(real.test)}
        if min(len(ours), len(theirs)) > real.test.shape[1]:
            moments = Moments.of(as_features(ours, theirs.device))
            metrics["fd_relative"] = relative_frechet_distance(moments, Moments.of(theirs))
        found[name] = rounded(metrics)
    return found


def real_floor(real: RealFeatures, settings: EvaluateSettings) -> dict[str, float]:
    """Metrics of real images: of training images as if generated, and of held-out images against training images."""
    rows = np.sort(np.random.default_rng(0).permutation(len(real.train))[: settings.n_images])
    halves = MemorisationTest(real.test[1::2], real.train, neighbours=real.memorisation_neighbours)(real.test[::2])
    train = f"fd_{thousands(settings.n_images)}_train"
    others = {train: frechet_distance(real.test_moments, real.train_moments), "memorised": halves.share}
    return score(select_rows(real.train, rows), real, settings) | rounded(others)


def relative_distance(features: np.ndarray, real: RealFeatures) -> float:
    """Relative Fréchet distance to the held-out images."""
    return relative_frechet_distance(Moments.of(as_features(features, real.test.device)), real.test_moments)


def thousands(count: int) -> str:
    """Formats 10000 as `10k`, 2500 as `2500`."""
    return f"{count // 1000}k" if count % 1000 == 0 else str(count)


def rounded(metrics: dict[str, float]) -> dict[str, float]:
    """Rounds to six significant digits; further digits depend on the order of sums."""
    return {name: float(f"{value:.6g}") for name, value in metrics.items()}
