"""The results of one evaluator: metrics, their confidence intervals, and the same metrics of real images."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tasks.common.params import EvaluateSettings
from tasks.evaluate.scores import neighbour_membership, real_floor, rounded, score, thousands
from tasks.metrics import intervals
from tasks.metrics.bootstrap import Interval, Resampling
from tasks.metrics.features import Features, as_features
from tasks.metrics.intervals import CONFIDENCE, frechet_intervals
from tasks.metrics.neighbours import Membership
from tasks.reference.protocol import Protocol
from tasks.reference.statistics import RealFeatures, ReferenceStatistics

RESAMPLES, FEW_RESAMPLES = 100, 20  # few for metrics that take long


@dataclass(frozen=True)
class EvaluationResults:
    """Metrics by name, the ends of their 95 % intervals if they have one, and the floor: the metrics of real images."""

    metrics: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    floor: dict[str, float]
    protocol: Protocol

    def add(self, found: Mapping[str, Interval | float]) -> None:
        """Adds metrics, some of them with intervals."""
        values = {name: one.estimate if isinstance(one, Interval) else one for name, one in found.items()}
        self.metrics.update(rounded(values))
        self.intervals.update(_ends({name: one for name, one in found.items() if isinstance(one, Interval)}))

    def record(self) -> dict[str, object]:
        """The content of data/evaluation."""
        protocol = self.protocol.model_dump()
        return {"metrics": self.metrics, "intervals": self.intervals, "floor": self.floor, "protocol": protocol}


def compute_results(
    reference: ReferenceStatistics, generated: np.ndarray, settings: EvaluateSettings
) -> EvaluationResults:
    """Evaluates features float [N, F] of generated images against the reference statistics."""
    real = reference.real
    features = as_features(generated, real.test.device)
    members = neighbour_membership(features, real, settings)
    metrics = score(features, real, settings, members)
    ends = _ends(_intervals(features, real, settings, members, metrics))
    return EvaluationResults(metrics, ends, real_floor(real, settings), reference.protocol)


def relative_interval(features: np.ndarray, real: RealFeatures, settings: EvaluateSettings) -> Interval:
    """Relative Fréchet distance to the held-out images, with its interval."""
    resampling = Resampling(RESAMPLES, CONFIDENCE, settings.seed)
    return frechet_intervals(features, real.test, real.train_moments, resampling)[1]


def _intervals(
    features: Features, real: RealFeatures, settings: EvaluateSettings, members: Membership, metrics: dict[str, float]
) -> dict[str, Interval]:
    """Intervals of the metrics of `score`. Those of neighbour scores keep the balls fixed and resample the images."""
    size, kernel = thousands(settings.n_images), f"kd_{thousands(settings.n_images)}_test"
    many, few = (Resampling(samples, CONFIDENCE, settings.seed) for samples in (RESAMPLES, FEW_RESAMPLES))
    test, relative, train = frechet_intervals(features, real.test, real.train_moments, many)
    near = members.scores()
    return {
        f"fd_{size}_test": test,
        f"fd_{size}_train": train,
        "fd_infinite_test": intervals.extrapolated_interval(features, real.test_moments, few),
        "fd_relative": relative,
        kernel: intervals.normal_interval(metrics[kernel], metrics[f"{kernel}_stderr"]),
        "precision": intervals.share_interval(near.precision, len(members.precise)),
        "recall": intervals.share_interval(near.recall, len(members.recalled)),
        "density": intervals.mean_interval(members.balls / members.k),
        "coverage": intervals.share_interval(near.coverage, len(members.covered)),
        "vendi": intervals.vendi_interval(features, few),
    }


def _ends(found: Mapping[str, Interval]) -> dict[str, tuple[float, float]]:
    ends = {name: rounded({"low": one.low, "high": one.high}) for name, one in found.items()}
    return {name: (one["low"], one["high"]) for name, one in ends.items()}
