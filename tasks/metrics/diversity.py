"""How many different images there are: the Vendi score."""

import torch
from numpy.typing import ArrayLike

from tasks.metrics.features import as_features, for_eigenvalues


def vendi_score(features: ArrayLike) -> float:
    """Effective number of dissimilar images with features [N, D]: from 1, all alike, to min(N, D).

    exp of the entropy of the eigenvalues of K / N, where K holds the cosines between features: Friedman & Dieng 2023
    (arXiv 2210.02410), definition 3.1. X X^T / N of the normalised rows X has the eigenvalues of X^T X / N besides
    zeros, so no N x N matrix is made. Features of zero, which have no direction, are alike and unlike all others.
    """
    rows = as_features(features)
    norms = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    rows = rows / norms.where(norms > 0, 1)
    values = torch.linalg.eigvalsh(for_eigenvalues(rows.T @ rows / len(rows)))
    values = torch.cat([values, (norms == 0).to(values).mean(dim=0)])
    values = values[values > 0]
    return float((-(values * values.log()).sum()).exp())
