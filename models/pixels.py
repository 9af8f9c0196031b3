"""The pixel convention, in one place.

On disk: uint8, [N, C, H, W]. Inside a model: float32 in [-1, 1]. At the ONNX boundary: float32 in [0, 1].
"""

import torch
from torch import Tensor


def to_model(images: Tensor) -> Tensor:
    """uint8 [N, C, H, W] in 0..255 to float32 in [-1, 1]."""
    return images.to(torch.float32) / 127.5 - 1


def to_unit(images: Tensor) -> Tensor:
    """Float [N, C, H, W] in [-1, 1] to float in [0, 1], clipped."""
    return ((images + 1) / 2).clamp(0, 1)


def from_unit(images: Tensor) -> Tensor:
    """Float [N, C, H, W] in [0, 1] to float in [-1, 1]."""
    return images * 2 - 1


def to_bytes(images: Tensor) -> Tensor:
    """Float [N, C, H, W] in [0, 1] to uint8 in 0..255: clipped, rounded half to even."""
    return (images.clamp(0, 1) * 255).round().to(torch.uint8)
