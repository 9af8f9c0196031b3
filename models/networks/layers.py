"""Layers and initialisation that several networks share, and how a square image becomes a 4 x 4 map and back."""

from typing import assert_never

import torch
from torch import Tensor, nn

from models.networks.norms import BatchNorm2d, original_weight, spectral
from models.settings import Norm, Upsampling

BASE = 4
LABEL_LENGTH = 32  # of the vector that stands for a label beside the noise
WIDEST = 8  # channels double at each halving up to this multiple (Radford 2016, figure 1)


def sides(size: int) -> list[int]:
    """Sides from 4 to `size`, doubled each time; 28 comes as 4, 7, 14, 28. Raises ValueError for other sizes."""
    if size == 28:
        return [4, 7, 14, 28]
    if size < 8 or size & (size - 1):
        raise ValueError(f"images are {size} pixels wide; the networks take 28 or a power of two from 8")
    return [BASE << step for step in range((size // BASE).bit_length())]


def widths(size: int, channels: int) -> list[int]:
    """Channels at each side of `sides(size)` but the last: `channels` at half the size, more the smaller the map."""
    halvings = len(sides(size)) - 1
    return [channels * min(2**step, WIDEST) for step in reversed(range(halvings))]


class ChannelsLastUnflatten(nn.Module):
    """Vectors float [N, 16 C], channels running fastest, to maps float [N, C, 4, 4] in channels_last; no copy."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels

    def forward(self, vectors: Tensor) -> Tensor:
        """See the class."""
        return vectors.reshape(-1, BASE, BASE, self.channels).permute(0, 3, 1, 2)


class ChannelsLastFlatten(nn.Module):
    """The way back: maps float [N, C, H, W] to float [N, H W C]; where they are channels_last, nothing is copied.

    The gradient then comes back in channels_last too: mixed layouts make the layer below several times slower.
    """

    def forward(self, maps: Tensor) -> Tensor:
        """See the class."""
        return maps.permute(0, 2, 3, 1).flatten(1)


def stem(code: int, channels: int) -> list[nn.Module]:
    """Code float [N, L] to a normalised, rectified map float [N, channels, 4, 4], from which `up` goes on.

    The linear layer is the 1x1 -> 4x4 transposed convolution of Radford 2016, faster and in any memory format.
    """
    return [
        nn.Linear(code, channels * BASE * BASE, bias=False),
        ChannelsLastUnflatten(channels),
        BatchNorm2d(channels),
        nn.ReLU(),
    ]


def down(inputs: int, outputs: int, side: int, *, bias: bool) -> nn.Conv2d:
    """A convolution that halves a map of this side; 7 becomes 4."""
    return nn.Conv2d(inputs, outputs, 3 if side % 2 else 4, stride=2, padding=1, bias=bias)


def up(inputs: int, outputs: int, side: int, how: Upsampling, *, bias: bool) -> nn.Module:
    """A layer that doubles a map up to this side; 4 becomes 7 where the side asks for it."""
    match how:
        case "transposed":
            return nn.ConvTranspose2d(inputs, outputs, 3 if side % 2 else 4, stride=2, padding=1, bias=bias)
        case "nearest":
            crop = [nn.ZeroPad2d((0, -1, 0, -1))] if side % 2 else []
            convolution = nn.Conv2d(inputs, outputs, 3, padding=1, bias=bias)
            return nn.Sequential(nn.Upsample(scale_factor=2), *crop, convolution)
    assert_never(how)


def normalised(layer: nn.Module, norm: Norm, channels: int) -> list[nn.Module]:
    """The layer and what keeps its outputs in range: batch statistics, a bounded spectral norm, or nothing."""
    match norm:
        case "batch":
            return [layer, BatchNorm2d(channels)]
        case "spectral":
            return [spectral(layer)]
        case "none":
            return [layer]
    assert_never(norm)


@torch.no_grad()
def initialise_dcgan(network: nn.Module) -> None:
    """Weights from N(0, 0.02), normalisation scales from N(1, 0.02), biases 0 (Radford 2016, section 4)."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.normal_(original_weight(module), 0.0, 0.02)
            if module.bias is not None:
                module.bias.zero_()
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1.0, 0.02)
