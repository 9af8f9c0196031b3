"""What one judge says of generated images: figures, how sure they are, and what real images score by the same test."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tasks.common.params import EvaluateSettings
from tasks.evaluate.scores import among, real_floor, rounded, score, thousands
from tasks.metrics.bootstrap import Interval, Resampling
from tasks.metrics.features import Features, as_features
from tasks.metrics.intervals import (
    CONFIDENCE,
    extrapolated_interval,
    frechet_intervals,
    mean_interval,
    normal_interval,
    share_interval,
    vendi_interval,
)
from tasks.metrics.neighbours import Membership
from tasks.reference.protocol import Protocol
from tasks.reference.statistics import RealFeatures, ReferenceStatistics

DRAWS, FEW_DRAWS = 100, 20  # resamplings; few of what costs as much as many of the others


@dataclass(frozen=True)
class EvaluationResults:
    """Figures by name, the ends of their 95 % intervals where they have one, and the floor: what real images score."""

    figures: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    floor: dict[str, float]
    protocol: Protocol

    def add(self, found: Mapping[str, Interval | float]) -> None:
        """Takes in more figures, with their intervals where they come as such."""
        estimates = {name: one.estimate if isinstance(one, Interval) else one for name, one in found.items()}
        self.figures.update(rounded(estimates))
        self.intervals.update(_ends({name: one for name, one in found.items() if isinstance(one, Interval)}))

    def record(self) -> dict[str, object]:
        """As it is written."""
        return {
            "figures": self.figures,
            "intervals": self.intervals,
            "floor": self.floor,
            "protocol": self.protocol.model_dump(),
        }


def evaluation(reference: ReferenceStatistics, given: np.ndarray, settings: EvaluateSettings) -> EvaluationResults:
    """Of images with these features, float [N, F], as the judge of this yardstick sees them."""
    real = reference.real
    features = as_features(given, real.test.device)
    members = among(features, real, settings)
    figures = score(features, real, settings, members)
    sure = _ends(_intervals(features, real, settings, members, figures))
    return EvaluationResults(figures, sure, real_floor(real, settings), reference.protocol)


def relative_interval(features: np.ndarray, real: RealFeatures, settings: EvaluateSettings) -> Interval:
    """The relative Frechet distance alone, against the held-out images."""
    how = Resampling(DRAWS, CONFIDENCE, settings.seed)
    return frechet_intervals(features, real.test, real.train_moments, how)[1]


def _intervals(
    features: Features,
    real: RealFeatures,
    settings: EvaluateSettings,
    members: Membership,
    figures: dict[str, float],
) -> dict[str, Interval]:
    """Of each figure that `score` gives. Neighbourhoods stay as they are: only who lies in them is drawn anew."""
    size, kernel = thousands(settings.n_images), f"kd_{thousands(settings.n_images)}_test"
    many, few = (Resampling(draws, CONFIDENCE, settings.seed) for draws in (DRAWS, FEW_DRAWS))
    test, relative, train = frechet_intervals(features, real.test, real.train_moments, many)
    near = members.scores()
    return {
        f"fd_{size}_test": test,
        f"fd_{size}_train": train,
        "fd_infinite_test": extrapolated_interval(features, real.test_moments, few),
        "fd_relative": relative,
        kernel: normal_interval(figures[kernel], figures[f"{kernel}_stderr"]),
        "precision": share_interval(near.precision, len(members.precise)),
        "recall": share_interval(near.recall, len(members.recalled)),
        "density": mean_interval(members.balls / members.k),
        "coverage": share_interval(near.coverage, len(members.covered)),
        "vendi": vendi_interval(features, few),
    }


def _ends(found: Mapping[str, Interval]) -> dict[str, tuple[float, float]]:
    rough = {name: rounded({"low": one.low, "high": one.high}) for name, one in found.items()}
    return {name: (one["low"], one["high"]) for name, one in rough.items()}
