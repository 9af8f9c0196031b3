"""The check of shapes and dtypes that networks and losses share."""

from typing import Any, Literal

import torch

Dtype = Literal["float", "int64"]


def check_shape(value: Any, name: str, shape: tuple[int | str, ...], dtype: Dtype = "float") -> None:
    """Raises ValueError unless the tensor or array `value` has this shape and dtype; a letter stands for any size.

    The check runs in Python, so a replayed CUDA graph does not pay for it. It is skipped while a network is exported,
    because sizes are symbolic then. `float` means any floating-point dtype.
    """
    if torch.compiler.is_exporting():
        return
    got = "None"
    if value is not None:
        found = str(value.dtype).removeprefix("torch.")
        matches = [isinstance(size, str) or size == actual for size, actual in zip(shape, value.shape, strict=False)]
        if len(shape) == len(value.shape) and all(matches) and found.removeprefix("b").startswith(dtype):
            return
        got = f"{found} {_text(value.shape)}"
    raise ValueError(f"{name} must be {dtype} {_text(shape)}, got {got}")


def _text(shape: tuple[int | str, ...]) -> str:
    return f"[{', '.join(map(str, shape))}]"
