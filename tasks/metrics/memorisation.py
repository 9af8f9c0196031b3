"""A test for memorisation: whether generated images are closer to training images than held-out images are."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import mannwhitneyu

from tasks.metrics.features import Features, as_pair
from tasks.metrics.nearest import nearest

NEAR = 0.01  # share of held-out images that count as near a training image
SUSPECT, SIGNIFICANT = 5 * NEAR, 1e-3  # a generator is flagged above this share and below this p-value


@dataclass(frozen=True)
class Memorisation:
    """The result of the test.

    `share` is the share of generated images that are nearer to a training image than all but NEAR of the held-out
    ones: about NEAR without memorisation, 1 for exact copies. `p_value` belongs to a one-sided Mann-Whitney test on all
    distance ratios. `distance_ratios` float64 [N] and `nearest` int64 [N], the rows of the nearest training images, are
    by generated image.
    """

    share: float
    p_value: float
    distance_ratios: NDArray[np.float64]
    nearest: NDArray[np.int64]

    @property
    def flagged(self) -> bool:
        """Whether the generator memorises. The p-value alone would flag any difference, however small."""
        return self.share > SUSPECT and self.p_value < SIGNIFICANT


class MemorisationTest:
    """Compares distance ratios of generated images with those of held-out images.

    The distance ratio of an image is its distance to the nearest training image divided by the mean distance to its
    `neighbours` nearest ones (Carlini et al. 2023, arXiv 2301.13188, section 5). A copy is far nearer to one training
    image than to the next ones; a plain or blurred image is about as near to many. The comparison uses a low quantile
    and the rank-sum test (Mann & Whitney 1947; on plain distances Meehan et al. 2020, arXiv 2004.05675). Memory is a
    few rows of distances at a time.
    """

    def __init__(self, held_out: ArrayLike, train: ArrayLike, *, neighbours: int = 50) -> None:
        """Takes features [H, D] and [M, D]; raises ValueError unless 2 <= neighbours < M."""
        others, training = as_pair(held_out, train)
        if not 2 <= neighbours < len(training):
            raise ValueError(f"{neighbours} neighbours among {len(training)} training images; at least 2 and fewer")
        self._train, self._neighbours = training, neighbours
        self._expected = self._distance_ratios(others)[0]

    def __call__(self, generated: ArrayLike) -> Memorisation:
        """Tests generated images with features [N, D]."""
        ratios, rows = self._distance_ratios(as_pair(generated, self._train)[0])
        near = np.quantile(self._expected, NEAR)
        test = mannwhitneyu(ratios, self._expected, alternative="less", method="asymptotic")
        return Memorisation(float((ratios < near).mean()), float(test.pvalue), ratios, rows)

    def _distance_ratios(self, points: Features) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Ratios [N], 1 where all neighbours are at distance 0, and rows [N] of the nearest training images."""
        distances, rows = nearest(points, self._train, self._neighbours)
        mean = distances.mean(axis=1)
        return np.divide(distances[:, 0], mean, out=np.ones_like(mean), where=mean > 0), rows[:, 0]
