"""What every metric takes: feature vectors of images, one row each."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

Features = NDArray[np.float64]


def as_features(values: ArrayLike) -> Features:
    """Any float [N, D] as float64; raises ValueError unless it has two axes, N >= 2 and finite entries alone."""
    features = np.asarray(values, np.float64)
    if features.ndim != 2 or len(features) < 2:
        raise ValueError(f"features have shape {features.shape}; expected [N, D] with N >= 2")
    if not np.isfinite(features).all():
        raise ValueError("features contain NaN or infinity, so no distance exists")
    return features


def as_pair(generated: ArrayLike, real: ArrayLike) -> tuple[Features, Features]:
    """Both as float64; raises ValueError unless both are features of one length."""
    first, second = as_features(generated), as_features(real)
    if first.shape[1] != second.shape[1]:
        raise ValueError(f"features have lengths {first.shape[1]} and {second.shape[1]}; one network gives one length")
    return first, second
