"""Pretrained weights from a file that the user supplies and names by its hash; nothing is downloaded."""

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from models.networks.pretrained import PRETRAINED, Dinov2, Inception, PretrainedName
from models.settings import WeightsFile
from tasks.common.errors import UserError
from tasks.common.files import sha256_file


def load_pretrained(name: PretrainedName, settings: WeightsFile, where: str) -> Inception | Dinov2:
    """Loads a network with the weights of the file; `where` names the setting in error messages.

    Raises UserError if the file is missing, has another hash or does not fit the network.
    """
    if not settings.file or not settings.sha256:
        raise UserError(f"{where}: {name} needs a file of pretrained weights; set file and that file's sha256")
    path = Path(settings.file).expanduser()
    if not path.is_file():
        raise UserError(f"{where}.file is {path}, but there is no such file; download it yourself and put it there")
    found = sha256_file(path)
    if found != settings.sha256:
        raise UserError(f"{where}.sha256 is {settings.sha256}, but {path} has {found}; correct the hash or the file")
    try:
        return PRETRAINED[name](_read_state_dict(path))
    except ValueError as error:
        raise UserError(f"{path} cannot be used as {name}: {error}") from None


def _read_state_dict(path: Path) -> dict[str, Tensor]:
    """Reads a .safetensors or, with `weights_only`, a pickled file; raises ValueError if it holds anything else."""
    try:
        weights = load_file(path) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True)
    except Exception:  # an unpickler raises anything for bytes that are no pickle
        raise ValueError("it is damaged, or holds more than tensors, which could run code and is not loaded") from None
    if not isinstance(weights, dict) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in weights.items()
    ):
        raise ValueError("it is not a dict of tensors by name")
    return weights
