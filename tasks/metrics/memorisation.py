"""Whether a generator repeats training images: how near its images lie to them, next to held-out images."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import mannwhitneyu

from tasks.metrics.features import Features, as_pair
from tasks.metrics.nearest import nearest

NEAR = 0.01  # share of held-out images that count as near a training image
SUSPECT, SIGNIFICANT = 5 * NEAR, 1e-3  # share of generated images, and p-value, from which on they are called copies


@dataclass(frozen=True)
class Memorisation:
    """Generated images against held-out ones.

    `share` of the generated images lie nearer to a training image than all but NEAR of the held-out ones, so NEAR is
    what a generator that learnt the law scores, and 1 one that replays. `p_value` is that of a Mann-Whitney test on all
    nearness. `nearness` float64 [N] and `nearest` int64 [N], the row of the training image, are each generated image's.
    """

    share: float
    p_value: float
    nearness: NDArray[np.float64]
    nearest: NDArray[np.int64]

    @property
    def flagged(self) -> bool:
        """Whether the generator replays: many near ones, and no accident. The p-value alone sees any difference."""
        return self.share > SUSPECT and self.p_value < SIGNIFICANT


class Nearness:
    """How near held-out images, features [H, D], lie to training images, [M, D]: what generated ones are held against.

    Nearness of an image is its distance to the nearest training image over the mean distance to its `neighbours`
    nearest ones (Carlini et al. 2023, arXiv 2301.13188, section 5): a plain image has many neighbours at one
    distance, a copy has one that is far nearer than the rest, so that a blurred image is not taken for a copy. Near is
    compared with held-out images by their quantile and by the rank-sum test (Mann & Whitney 1947, as Meehan et al.
    2020, arXiv 2004.05675, on plain distances). Memory is a few rows of distances at a time.
    """

    def __init__(self, held_out: ArrayLike, train: ArrayLike, *, neighbours: int = 50) -> None:
        """Raises ValueError unless there are more training images than `neighbours`, and at least 2 of those."""
        others, training = as_pair(held_out, train)
        if not 2 <= neighbours < len(training):
            raise ValueError(f"{neighbours} neighbours among {len(training)} training images; at least 2 and fewer")
        self._train, self._neighbours = training, neighbours
        self._expected = self._of(others)[0]

    def evaluator(self, generated: ArrayLike) -> Memorisation:
        """Whether images with these features [N, D] come nearer than held-out ones do."""
        nearness, rows = self._of(as_pair(generated, self._train)[0])
        near = np.quantile(self._expected, NEAR)
        test = mannwhitneyu(nearness, self._expected, alternative="less", method="asymptotic")
        return Memorisation(float((nearness < near).mean()), float(test.pvalue), nearness, rows)

    def _of(self, points: Features) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Nearness [N] and the nearest training image's row [N]; 1 where all neighbours are at distance 0."""
        distances, rows = nearest(points, self._train, self._neighbours)
        mean = distances.mean(axis=1)
        return np.divide(distances[:, 0], mean, out=np.ones_like(mean), where=mean > 0), rows[:, 0]


def memorisation(generated: ArrayLike, held_out: ArrayLike, train: ArrayLike, *, neighbours: int = 50) -> Memorisation:
    """How near features [N, D] lie to those [M, D] of training images, next to held-out ones [H, D]; see Nearness."""
    return Nearness(held_out, train, neighbours=neighbours).evaluator(generated)
