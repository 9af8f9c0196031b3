"""The nearest of many points, each of a few million distances at a time."""

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.neighbors import NearestNeighbors

from tasks.metrics.features import Features

ENTRIES = 2**25  # of a distance matrix that are held at once: 256 MiB
Found = tuple[NDArray[np.float64], NDArray[np.int64]]


def nearest(points: Features, others: Features, k: int) -> Found:
    """Distances float64 [N, k] of points [N, D] to the k nearest of `others` [M, D], and their rows int64 [N, k].

    On a CPU by scikit-learn, which there is half as fast again as the products and selections that a GPU does.
    """
    if others.device.type != "cpu":
        return nearest_by_blocks(points, others, k)
    search = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(others.numpy())  # type: ignore[no-untyped-call]
    distances, rows = search.kneighbors(points.numpy())
    return distances, rows


def nearest_by_blocks(points: Features, others: Features, k: int) -> Found:
    """The same on any device."""
    norms, found = others.square().sum(dim=1), []
    for part in torch.split(points, max(1, ENTRIES // len(others))):
        squared, rows = torch.addmm(norms, part, others.T, alpha=-2).topk(k, largest=False)
        squared += part.square().sum(dim=1, keepdim=True)
        found.append((squared.clamp_(min=0).sqrt_(), rows))
    distances, rows = (torch.cat(each) for each in zip(*found, strict=True))
    return distances.cpu().numpy(), rows.cpu().numpy()
