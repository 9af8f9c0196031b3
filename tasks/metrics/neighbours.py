"""Precision, recall, density and coverage: who lies within whose nearest neighbours."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from tasks.metrics.features import Features, as_pair

Flags = NDArray[np.bool_]
BLOCK = 128  # rows of a distance matrix that are held at once
ROUNDING = 1e-13  # of squared distances, as a share of squared norms: copies of one image lie at distance 0


@dataclass(frozen=True)
class Neighbours:
    """Fidelity (precision, density) and diversity (recall, coverage); shares in [0, 1], density about 1 at best."""

    precision: float
    recall: float
    density: float
    coverage: float


@dataclass(frozen=True)
class Membership:
    """Image by image: whether each of N generated lies in a real ball (and in how many), and each of M real in a
    generated ball; and whether each real ball holds a generated image. Balls reach the k-th nearest of one's own kind.
    """

    precise: Flags
    balls: NDArray[np.int64]
    recalled: Flags
    covered: Flags
    k: int

    def scores(self) -> Neighbours:
        """The shares."""
        return Neighbours(
            precision=float(self.precise.mean()),
            recall=float(self.recalled.mean()),
            density=float(self.balls.sum()) / (self.k * len(self.balls)),
            coverage=float(self.covered.mean()),
        )


def neighbour_scores(generated: ArrayLike, real: ArrayLike, k: int, *, block: int = BLOCK) -> Neighbours:
    """Scores of generated [N, D] against real [M, D]; see `membership`."""
    return membership(generated, real, k, block=block).scores()


def membership(generated: ArrayLike, real: ArrayLike, k: int, *, block: int = BLOCK) -> Membership:
    """Which generated images [N, D] and which real ones [M, D] lie in whose balls.

    Precision: share of generated images in any real ball. Recall: share of real images in any generated ball
    (Kynkäänniemi et al. 2019, arXiv 1904.06991, equation 1). Density: real balls that a generated image lies in,
    over k. Coverage: share of real balls that hold a generated image (Naeem et al. 2020, arXiv 2002.09797,
    section 3). Memory is `block` rows of distances. All depend on N and M: compare at equal numbers alone.
    Raises ValueError unless 1 <= k < min(N, M).
    """
    first, second = as_pair(generated, real)
    if not 1 <= k < min(len(first), len(second)):
        raise ValueError(f"{k} neighbours among {min(len(first), len(second))} images; k must be below their number")
    centre = second.mean(dim=0)  # small norms keep the products below accurate
    first, second = first - centre, second - centre
    reach_first, reach_second = _squared_reach(first, k, block), _squared_reach(second, k, block)
    slack = ROUNDING * max(float(side.square().sum(dim=1).max()) for side in (first, second))
    reach_first, reach_second = reach_first + slack, reach_second + slack
    balls = torch.zeros(len(first), dtype=torch.int32, device=first.device)
    recalled, covered = (torch.zeros(len(second), dtype=torch.bool, device=first.device) for _ in range(2))
    for rows, distances in _squared_distances(first, second, block):
        inside = distances <= reach_second
        balls[rows] = _bytes(inside).sum(dim=1, dtype=torch.int32)
        covered |= _bytes(inside).amax(dim=0) > 0
        recalled |= _bytes(distances <= reach_first[rows, None]).amax(dim=0) > 0
    found = balls.cpu().numpy().astype(np.int64)
    return Membership(found > 0, found, recalled.cpu().numpy(), covered.cpu().numpy(), k)


def _bytes(flags: Tensor) -> Tensor:
    """The same memory as 0 and 1, which a CPU reduces many times faster."""
    return flags.view(torch.uint8)


def _squared_reach(points: Features, k: int, block: int) -> Tensor:
    """Squared distance of each point to its k-th nearest other point, [N]."""
    reach = torch.empty(len(points), dtype=points.dtype, device=points.device)
    for rows, distances in _squared_distances(points, points, block):
        distances[:, rows].fill_diagonal_(torch.inf)
        reach[rows] = distances.topk(k, largest=False).values[:, -1]
    return reach


def _squared_distances(a: Features, b: Features, block: int) -> Iterator[tuple[slice, Tensor]]:
    """Squared Euclidean distances of `block` rows of `a` to all of `b`, with the slice of those rows."""
    norms_a, norms_b = a.square().sum(dim=1), b.square().sum(dim=1)
    for start in range(0, len(a), block):
        rows = slice(start, min(start + block, len(a)))
        distances = (-2 * a[rows]) @ b.T
        yield rows, distances.add_(norms_a[rows, None]).add_(norms_b).clamp_(min=0)
