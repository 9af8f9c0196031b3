"""What every metric takes: feature vectors of images, one row each, on the device where figures are computed."""

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

Features = Tensor
LAPACK = 512  # sides of matrices up to which a GPU's eigensolver is no faster than LAPACK on the CPU


def as_features(values: ArrayLike, device: torch.device | None = None) -> Features:
    """Any float [N, D], an array or a tensor, as a float64 tensor on `device`, or where it lies.

    Raises ValueError unless it has two axes, N >= 2 and finite entries alone.
    """
    rows = values if isinstance(values, Tensor) else torch.from_numpy(np.asarray(values, np.float64))
    features = rows.to(device, torch.float64)
    if features.ndim != 2 or len(features) < 2:
        raise ValueError(f"features have shape {tuple(features.shape)}; expected [N, D] with N >= 2")
    if not features.sum().isfinite():  # one number tells, many times faster on a CPU than one by one
        raise ValueError("features contain NaN or infinity, so no distance exists")
    return features


def as_pair(generated: ArrayLike, real: ArrayLike) -> tuple[Features, Features]:
    """Both as float64 where the real ones lie; raises ValueError unless both are features of one length."""
    second = as_features(real)
    first = as_features(generated, second.device)
    if first.shape[1] != second.shape[1]:
        raise ValueError(f"features have lengths {first.shape[1]} and {second.shape[1]}; one network gives one length")
    return first, second


def taken(features: Features, rows: NDArray[np.int64]) -> Features:
    """These rows [n] of features [N, D], as often as they are named."""
    return features.index_select(0, torch.from_numpy(rows).to(features.device))


def for_eigenvalues(matrix: Tensor) -> Tensor:
    """A symmetric matrix [D, D] where its eigenvalues are found soonest: on the CPU unless it is large."""
    return matrix if len(matrix) > LAPACK else matrix.cpu()
