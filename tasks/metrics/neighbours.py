"""Precision, recall, density and coverage, from k-nearest-neighbour balls."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from tasks.metrics.features import Features, as_pair

Flags = NDArray[np.bool_]
BLOCK = 128  # rows of a distance matrix in memory at once
ROUNDING = 1e-13  # added to squared radii, relative to squared norms, so that equal images are at distance 0


@dataclass(frozen=True)
class NeighbourScores:
    """Fidelity (precision, density) and diversity (recall, coverage). All but density are shares in [0, 1]."""

    precision: float
    recall: float
    density: float
    coverage: float


@dataclass(frozen=True)
class Membership:
    """Memberships by image. The ball of an image reaches to the k-th nearest other image of its own set.

    For each of N generated images: `precise`, whether it is in a real image's ball, and `balls`, in how many. For each
    of M real images: `recalled`, whether it is in a generated image's ball, and `covered`, whether its own ball holds a
    generated image.
    """

    precise: Flags
    balls: NDArray[np.int64]
    recalled: Flags
    covered: Flags
    k: int

    def scores(self) -> NeighbourScores:
        """Averages the memberships."""
        precision, recall, coverage = (float(flags.mean()) for flags in (self.precise, self.recalled, self.covered))
        return NeighbourScores(precision, recall, float(self.balls.sum()) / (self.k * len(self.balls)), coverage)


def membership(generated: ArrayLike, real: ArrayLike, k: int, *, block: int = BLOCK) -> Membership:
    """Finds which generated images [N, D] and real images [M, D] are in whose balls.

    Precision and recall: Kynkäänniemi et al. 2019 (arXiv 1904.06991), equation 1. Density, the mean number of real
    balls that a generated image is in, over k, and coverage: Naeem et al. 2020 (arXiv 2002.09797), section 3. All
    depend on N and M: compare at equal numbers only. `block` rows of distances are in memory at once. Raises ValueError
    unless 1 <= k < min(N, M).
    """
    first, second = as_pair(generated, real)
    if not 1 <= k < min(len(first), len(second)):
        raise ValueError(f"{k} neighbours among {min(len(first), len(second))} images; k must be below their number")
    centre = second.mean(dim=0)  # small norms keep the products below accurate
    first, second = first - centre, second - centre
    radii_first, radii_second = _squared_radii(first, k, block), _squared_radii(second, k, block)
    slack = ROUNDING * max(float(side.square().sum(dim=1).max()) for side in (first, second))
    radii_first, radii_second = radii_first + slack, radii_second + slack
    balls = torch.zeros(len(first), dtype=torch.int32, device=first.device)
    recalled, covered = (torch.zeros(len(second), dtype=torch.bool, device=first.device) for _ in range(2))
    for rows, distances in _squared_distances(first, second, block):
        inside = distances <= radii_second
        balls[rows] = _as_uint8(inside).sum(dim=1, dtype=torch.int32)
        covered |= _as_uint8(inside).amax(dim=0) > 0
        recalled |= _as_uint8(distances <= radii_first[rows, None]).amax(dim=0) > 0
    numbers = balls.cpu().numpy().astype(np.int64)
    return Membership(numbers > 0, numbers, recalled.cpu().numpy(), covered.cpu().numpy(), k)


def _as_uint8(flags: Tensor) -> Tensor:
    """The same memory as 0 and 1; a CPU reduces uint8 many times faster than bool."""
    return flags.view(torch.uint8)


def _squared_radii(points: Features, k: int, block: int) -> Tensor:
    """Squared distance of each point to its k-th nearest other point, [N]."""
    radii = torch.empty(len(points), dtype=points.dtype, device=points.device)
    for rows, distances in _squared_distances(points, points, block):
        distances[:, rows].fill_diagonal_(torch.inf)
        radii[rows] = distances.topk(k, largest=False).values[:, -1]
    return radii


def _squared_distances(a: Features, b: Features, block: int) -> Iterator[tuple[slice, Tensor]]:
    """Squared Euclidean distances of `block` rows of `a` to all of `b`, with the slice of those rows."""
    norms_a, norms_b = a.square().sum(dim=1), b.square().sum(dim=1)
    for start in range(0, len(a), block):
        rows = slice(start, min(start + block, len(a)))
        distances = (-2 * a[rows]) @ b.T
        yield rows, distances.add_(norms_a[rows, None]).add_(norms_b).clamp_(min=0)
