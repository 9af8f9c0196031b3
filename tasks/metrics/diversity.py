"""The Vendi score, an effective number of different images."""

import torch
from numpy.typing import ArrayLike

from tasks.metrics.features import as_features, to_eigensolver


def vendi_score(features: ArrayLike) -> float:
    """Vendi score of features [N, D], from 1 (all images alike) to min(N, D).

    exp(-sum_i l_i ln l_i) over the eigenvalues l_i of K / N, where K holds the cosines between features: Friedman &
    Dieng 2023 (arXiv 2210.02410), definition 3.1. For normalised rows X, X X^T / N and X^T X / N have the same non-zero
    eigenvalues, so no N x N matrix is needed. Zero features, which have no direction, count as one more kind of image.
    """
    rows = as_features(features)
    norms = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    rows = rows / norms.where(norms > 0, 1)
    values = torch.linalg.eigvalsh(to_eigensolver(rows.T @ rows / len(rows)))
    values = torch.cat([values, (norms == 0).to(values).mean(dim=0)])
    values = values[values > 0]
    return float((-(values * values.log()).sum()).exp())
