"""Weights that the user supplies: a file of theirs, with the hash that they know it by. Nothing is downloaded."""

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from models.networks.pretrained import PRETRAINED, Dinov2, Inception, PretrainedName
from models.settings import WeightsFile
from tasks.common.errors import UserError
from tasks.common.files import sha256_file


def load_pretrained(name: PretrainedName, settings: WeightsFile, where: str) -> Inception | Dinov2:
    """The network with the weights of that file; raises UserError, which says `where` it is set, if it cannot be used.

    The file must be there, have the hash that was expected, and fit the network.
    """
    if not settings.file or not settings.sha256:
        raise UserError(f"{where}: {name} judges by weights of yours; set the file and that file's sha256")
    path = Path(settings.file).expanduser()
    if not path.is_file():
        raise UserError(f"{where}.file is {path}, and no such file is there; nothing is downloaded, so put it there")
    found = sha256_file(path)
    if found != settings.sha256:
        raise UserError(f"{where}.sha256 is {settings.sha256}, but {path} has {found}; one of the two is not the one")
    try:
        return PRETRAINED[name](_read(path))
    except ValueError as error:
        raise UserError(f"{path} cannot be used as {name}: {error}") from None


def _read(path: Path) -> dict[str, Tensor]:
    """A state dict; a .pth is unpickled with nothing but tensors allowed. Raises ValueError for any other file."""
    try:
        weights = load_file(path) if path.suffix == ".safetensors" else _unpickled(path)
    except Exception:  # bytes that are no pickle make an unpickler raise anything
        raise ValueError("it is damaged, or holds more than tensors, which could run code and is not loaded") from None
    if not isinstance(weights, dict) or not all(_is_entry(*each) for each in weights.items()):
        raise ValueError("it holds something else than tensors by name")
    return weights


def _unpickled(path: Path) -> object:
    return torch.load(path, map_location="cpu", weights_only=True)


def _is_entry(name: object, value: object) -> bool:
    return isinstance(name, str) and isinstance(value, Tensor)
