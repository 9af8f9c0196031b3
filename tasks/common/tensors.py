"""Tensors in safetensors files: nothing is unpickled, and one JSON text in the header says what they are."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from tasks.common.errors import UserError
from tasks.common.files import canonical, replacing

HEADER = "imagewright"  # one key, because safetensors writes several in no fixed order


def save_tensors(path: Path, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
    """Replaces `path` by a safetensors file at once; equal content gives equal bytes."""
    plain = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
    with replacing(path) as beside:
        save_file(plain, beside, metadata={HEADER: canonical(about).decode()})


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors on the CPU by name, and what the header says; raises UserError when the file is missing or damaged."""
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
            return tensors, json.loads((file.metadata() or {})[HEADER])
    except FileNotFoundError:
        raise UserError(f"{path} is missing; run the stage that makes it (`make repro` runs them all)") from None
    except (SafetensorError, KeyError, ValueError) as error:
        raise UserError(f"{path} is damaged ({error}); delete it and run again to make it anew") from None


def below(tensors: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    """The tensors under `name.`, without that prefix."""
    return {key.removeprefix(f"{name}."): value for key, value in tensors.items() if key.startswith(f"{name}.")}
