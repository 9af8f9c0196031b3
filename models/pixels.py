"""Conversions between the three pixel formats.

Files hold uint8 [N, C, H, W], networks compute on float32 in [-1, 1], and ONNX models exchange float32 in [0, 1].
"""

import torch
from torch import Tensor


def to_model(images: Tensor) -> Tensor:
    """Converts uint8 [N, C, H, W] in 0..255 to float32 in [-1, 1]."""
    return images.to(torch.float32) / 127.5 - 1


def to_unit(images: Tensor) -> Tensor:
    """Converts float [N, C, H, W] in [-1, 1] to float in [0, 1] and clips."""
    return ((images + 1) / 2).clamp(0, 1)


def from_unit(images: Tensor) -> Tensor:
    """Converts float [N, C, H, W] in [0, 1] to float in [-1, 1]."""
    return images * 2 - 1


def to_bytes(images: Tensor) -> Tensor:
    """Converts float [N, C, H, W] in [0, 1] to uint8 in 0..255: clips, then rounds half to even."""
    return (images.clamp(0, 1) * 255).round().to(torch.uint8)
