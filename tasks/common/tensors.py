"""Tensors in safetensors files, which need no unpickling; a JSON object in the header describes them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from tasks.common.errors import UserError
from tasks.common.files import canonical, replacing

HEADER = "imagewright"  # the only key, because safetensors writes several keys in no fixed order


def save_tensors(path: Path, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
    """Replaces `path` atomically by a safetensors file; equal content gives equal bytes."""
    plain = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
    with replacing(path) as beside:
        save_file(plain, beside, metadata={HEADER: canonical(about).decode()})


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Returns CPU tensors by name, and the header's JSON object; raises UserError for a missing or damaged file."""
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
            return tensors, json.loads((file.metadata() or {})[HEADER])
    except FileNotFoundError:
        raise UserError(f"{path} is missing; run the stage that makes it (`make repro` runs them all)") from None
    except (SafetensorError, KeyError, ValueError) as error:
        raise UserError(f"{path} is damaged ({error}); delete it and run again to make it anew") from None


def select_prefix(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Returns the tensors whose names start with `prefix.`, under their names without it."""
    return {key.removeprefix(f"{prefix}."): value for key, value in tensors.items() if key.startswith(f"{prefix}.")}
