"""Stand-ins for pretrained weight files: random tensors with the names and shapes of the real ones."""

import io
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from torch import Tensor, nn
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

from models.settings import WeightsFile
from tasks.common.files import sha256_file

Weights = dict[str, Tensor]


class _Blank(FeatureExtractorInceptionV3):
    """torch-fidelity's network, which keeps its random weights."""

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> None:
        """Does nothing."""


@cache
def inception_weights() -> Weights:
    """Weights under torch-fidelity's names, scaled so that activations neither vanish nor explode."""
    file = io.BytesIO()
    torch.save({}, file)
    file.seek(0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = _Blank("blank", ["2048"], feature_extractor_weights_path=file)  # type: ignore[no-untyped-call]
        for layer in network.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight)
    return dict(network.state_dict())


@cache
def dinov2_weights(registers: bool = False, side: int = 224) -> Weights:
    """Weights of the small network under timm's names, scaled so that the features depend on the image."""
    name = f"vit_small_patch14{'_reg4' if registers else ''}_dinov2"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = timm.create_model(name, pretrained=False, num_classes=0, img_size=side)
        weights = {name: value.detach().clone() for name, value in network.state_dict().items()}
        for name, value in weights.items():
            if name.endswith(".gamma"):
                value.fill_(1)
            elif name.endswith("_token"):
                value.normal_(std=0.1)
    return weights


def images(count: int, channels: int = 1, side: int = 28) -> np.ndarray:
    """uint8 [count, channels, side, side] with a soft spot, another in every image and channel."""
    random, (y, x) = np.random.default_rng(0), np.mgrid[:side, :side]
    places, widths = (
        random.uniform(0.2, 0.8, (2, count, channels, 1, 1)) * side,
        random.uniform(2, side / 3, (count, 1)),
    )
    squared = (y - places[0]) ** 2 + (x - places[1]) ** 2
    spots: np.ndarray = (255 * np.exp(-squared / widths[..., None, None] ** 2)).astype(np.uint8)
    return spots


def settings(path: Path) -> WeightsFile:
    """Returns the section of params.yaml for an existing file."""
    return WeightsFile(file=str(path), sha256=sha256_file(path))
