"""The input of every metric: feature vectors of images, one row each."""

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

Features = Tensor  # float64 [N, D]
LAPACK_LIMIT = 512  # side of a matrix up to which LAPACK on the CPU is as fast as a GPU's eigensolver


def as_features(values: ArrayLike, device: torch.device | None = None) -> Features:
    """Converts floats [N, D], an array or a tensor, to a float64 tensor on `device`, or on the device they are on.

    Raises ValueError unless there are two axes, N >= 2 and finite entries only.
    """
    rows = values if isinstance(values, Tensor) else torch.from_numpy(np.asarray(values, np.float64))
    features = rows.to(device, torch.float64)
    if features.ndim != 2 or len(features) < 2:
        raise ValueError(f"features have shape {tuple(features.shape)}; expected [N, D] with N >= 2")
    if not features.sum().isfinite():  # many times faster on a CPU than a test of every entry
        raise ValueError("features contain NaN or infinity, so no distance exists")
    return features


def as_pair(generated: ArrayLike, real: ArrayLike) -> tuple[Features, Features]:
    """Converts both to float64 on the device of `real`; raises ValueError if they have different lengths D."""
    second = as_features(real)
    first = as_features(generated, second.device)
    if first.shape[1] != second.shape[1]:
        raise ValueError(f"features have lengths {first.shape[1]} and {second.shape[1]}; one network gives one length")
    return first, second


def select_rows(features: Features, rows: NDArray[np.int64]) -> Features:
    """Returns the given rows [n] of features [N, D]; a row may occur several times."""
    return features.index_select(0, torch.from_numpy(rows).to(features.device))


def to_eigensolver(matrix: Tensor) -> Tensor:
    """Moves a symmetric matrix [D, D] to the CPU, unless it is so large that a GPU finds its eigenvalues sooner."""
    return matrix if len(matrix) > LAPACK_LIMIT else matrix.cpu()
