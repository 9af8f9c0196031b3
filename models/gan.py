"""DCGAN: a generator and a discriminator of strided convolutions (Radford, Metz & Chintala 2016)."""

from itertools import pairwise
from typing import Literal

from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from models.layers import BASE, ToVectors, down, normalised, sides, stem, up, widths


class GanShape(BaseModel):
    """What the weights of a generator fit: image side and channels, noise length, width, kind of upsampling."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    size: int
    image_channels: int
    noise: int
    channels: int
    upsample: Literal["transposed", "nearest"]


class Generator(nn.Module):
    """Noise float [N, L], standard normal, to images float [N, C, H, W] in [-1, 1]."""

    def __init__(self, shape: GanShape) -> None:
        super().__init__()
        maps, wide = sides(shape.size), widths(shape.size, shape.channels)
        layers = stem(shape.noise, wide[0])
        for (inputs, outputs), side in zip(pairwise(wide), maps[1:-1], strict=True):
            layers += [up(inputs, outputs, side, shape.upsample, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
        layers += [up(wide[-1], shape.image_channels, maps[-1], shape.upsample, bias=True), nn.Tanh()]
        self.layers = nn.Sequential(*layers)

    def forward(self, noise: Tensor) -> Tensor:
        """float [N, L] to float [N, C, H, W] in [-1, 1]."""
        images: Tensor = self.layers(noise)
        return images


class Discriminator(nn.Module):
    """Images float [N, C, H, W] in [-1, 1] to logits float [N]: above 0 for real, below for generated."""

    def __init__(self, shape: GanShape, norm: str) -> None:
        super().__init__()
        maps, wide = sides(shape.size)[::-1], widths(shape.size, shape.channels)[::-1]
        # No batch statistics on the first layer (Radford 2016, section 3).
        first = normalised(
            down(shape.image_channels, wide[0], maps[0], bias=True), "none" if norm == "batch" else norm, wide[0]
        )
        layers = [*first, nn.LeakyReLU(0.2)]
        for (inputs, outputs), side in zip(pairwise(wide), maps[1:-1], strict=True):
            layer = down(inputs, outputs, side, bias=norm != "batch")
            layers += [*normalised(layer, norm, outputs), nn.LeakyReLU(0.2)]
        last = nn.Linear(wide[-1] * BASE * BASE, 1)
        self.layers = nn.Sequential(
            *layers, ToVectors(), *normalised(last, "spectral" if norm == "spectral" else "none", 1)
        )

    def forward(self, images: Tensor) -> Tensor:
        """float [N, C, H, W] to float [N]."""
        logits: Tensor = self.layers(images)
        return logits.squeeze(1)
