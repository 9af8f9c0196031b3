"""How many different images there are: the Vendi score."""

import numpy as np
from numpy.typing import ArrayLike

from tasks.metrics.features import as_features


def vendi_score(features: ArrayLike) -> float:
    """Effective number of dissimilar images with features [N, D]: from 1, all alike, to min(N, D).

    exp of the entropy of the eigenvalues of K / N, where K holds the cosines between features: Friedman & Dieng 2023
    (arXiv 2210.02410), definition 3.1. X X^T / N of the normalised rows X has the eigenvalues of X^T X / N besides
    zeros, so no N x N matrix is made. Features of zero, which have no direction, are alike and unlike all others.
    """
    rows = as_features(features)
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    rows = np.divide(rows, norms, out=np.zeros_like(rows), where=norms > 0)
    values = np.append(np.linalg.eigvalsh(rows.T @ rows / len(rows)), (norms == 0).mean())
    values = values[values > 0]
    return float(np.exp(-np.sum(values * np.log(values))))
