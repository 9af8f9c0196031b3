"""Layers and initialisation that the GAN and the VAE share."""

from typing import assert_never

import torch
from torch import Tensor, nn

from models.networks.norms import BatchNorm2d, original_weight, spectral_norm_float32
from models.settings import Norm, Upsampling

BASE = 4  # side of the smallest feature map
LABEL_LENGTH = 32  # length of a label's embedding
MAX_CHANNELS = 8  # channels double at each halving up to this multiple (Radford 2016, figure 1)


def sides(size: int) -> list[int]:
    """Returns the sides of the feature maps: 4, 8, ... `size`, or 4, 7, 14, 28. Raises ValueError for other sizes."""
    if size == 28:
        return [4, 7, 14, 28]
    if size < 8 or size & (size - 1):
        raise ValueError(f"images are {size} pixels wide; the networks support 28 and powers of two from 8")
    return [BASE << step for step in range((size // BASE).bit_length())]


def widths(size: int, channels: int) -> list[int]:
    """Returns the channels at each side of `sides(size)` except the last: `channels` at half the image size."""
    return [channels * min(2**step, MAX_CHANNELS) for step in reversed(range(len(sides(size)) - 1))]


class ChannelsLastUnflatten(nn.Module):
    """Views vectors float [N, 16 C], channels fastest, as maps float [N, C, 4, 4] in channels_last."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels

    def forward(self, vectors: Tensor) -> Tensor:
        """Returns a view of `vectors`."""
        return vectors.reshape(-1, BASE, BASE, self.channels).permute(0, 3, 1, 2)


class ChannelsLastFlatten(nn.Module):
    """Flattens maps float [N, C, H, W] to float [N, H W C], without a copy where they are channels_last.

    The gradient is channels_last too: mixed memory formats make the layer below several times slower.
    """

    def forward(self, maps: Tensor) -> Tensor:
        """Returns a view of channels_last `maps`, else a copy."""
        return maps.permute(0, 2, 3, 1).flatten(1)


def stem(code: int, channels: int) -> list[nn.Module]:
    """Returns the first layers of a decoder, from codes float [N, L] to maps float [N, channels, 4, 4].

    The linear layer equals the 1x1 -> 4x4 transposed convolution of Radford 2016, and is faster.
    """
    linear = nn.Linear(code, channels * BASE * BASE, bias=False)
    return [linear, ChannelsLastUnflatten(channels), BatchNorm2d(channels), nn.ReLU()]


def down(inputs: int, outputs: int, side: int, *, bias: bool) -> nn.Conv2d:
    """Returns a convolution that halves a map of this side; 7 becomes 4."""
    return nn.Conv2d(inputs, outputs, 3 if side % 2 else 4, stride=2, padding=1, bias=bias)


def up(inputs: int, outputs: int, side: int, upsampling: Upsampling, *, bias: bool) -> nn.Module:
    """Returns a layer that doubles a map to this side; for a side of 7 the map has 4."""
    match upsampling:
        case "transposed":
            return nn.ConvTranspose2d(inputs, outputs, 3 if side % 2 else 4, stride=2, padding=1, bias=bias)
        case "nearest":
            crop = [nn.ZeroPad2d((0, -1, 0, -1))] if side % 2 else []
            convolution = nn.Conv2d(inputs, outputs, 3, padding=1, bias=bias)
            return nn.Sequential(nn.Upsample(scale_factor=2), *crop, convolution)
    assert_never(upsampling)


def normalised(layer: nn.Module, norm: Norm, channels: int) -> list[nn.Module]:
    """Returns the layer with batch normalisation behind it, with spectral normalisation, or alone."""
    match norm:
        case "batch":
            return [layer, BatchNorm2d(channels)]
        case "spectral":
            return [spectral_norm_float32(layer)]
        case "none":
            return [layer]
    assert_never(norm)


@torch.no_grad()
def initialise_dcgan(network: nn.Module) -> None:
    """Draws weights from N(0, 0.02) and batch norm scales from N(1, 0.02), and sets biases to 0 (Radford 2016, 4)."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.normal_(original_weight(module), 0.0, 0.02)
            if module.bias is not None:
                module.bias.zero_()
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1.0, 0.02)
