"""DCGAN: a generator and a discriminator of strided convolutions (Radford, Metz & Chintala 2016)."""

from itertools import pairwise

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from models.networks.layers import BASE, LABEL_LENGTH, ChannelsLastFlatten, down, normalised, sides, stem, up, widths
from models.networks.norms import BatchNorm2d
from models.settings import Norm, Upsampling


class GanConfig(BaseModel):
    """What the weights of a generator fit: image side and channels, noise length, labels, width, upsampling."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    size: int
    image_channels: int
    noise: int
    classes: int  # 0: it is told no label
    channels: int
    upsample: Upsampling


class Generator(nn.Module):
    """Noise float [N, L], standard normal, and a label where it is told one, to images float [N, C, H, W] in [-1, 1].

    A label's learnt vector stands beside the noise (Mirza & Osindero 2014).
    """

    def __init__(self, shape: GanConfig) -> None:
        super().__init__()
        maps, wide = sides(shape.size), widths(shape.size, shape.channels)
        self.label = nn.Embedding(shape.classes, LABEL_LENGTH) if shape.classes else None
        layers = stem(shape.noise + (LABEL_LENGTH if shape.classes else 0), wide[0])
        for (inputs, outputs), side in zip(pairwise(wide), maps[1:-1], strict=True):
            layers += [up(inputs, outputs, side, shape.upsample, bias=False), BatchNorm2d(outputs), nn.ReLU()]
        layers += [up(wide[-1], shape.image_channels, maps[-1], shape.upsample, bias=True), nn.Tanh()]
        self.layers = nn.Sequential(*layers)

    def forward(self, noise: Tensor, label: Tensor | None = None) -> Tensor:
        """float [N, L] and, for a generator that is told labels, int64 [N] to float [N, C, H, W] in [-1, 1]."""
        images: Tensor = self.layers(noise if self.label is None else torch.cat([noise, self.label(label)], dim=1))
        return images


class Discriminator(nn.Module):
    """Images float [N, C, H, W] in [-1, 1] to logits float [N]: above 0 for real, below for generated.

    Where labels are told, a label's learnt plane stands beside the image's channels (Mirza & Osindero 2014).
    """

    def __init__(self, shape: GanConfig, norm: Norm) -> None:
        super().__init__()
        maps, wide = sides(shape.size)[::-1], widths(shape.size, shape.channels)[::-1]
        self.label = nn.Embedding(shape.classes, shape.size**2) if shape.classes else None
        planes = shape.image_channels + bool(shape.classes)
        # No batch statistics on the first layer (Radford 2016, section 3).
        first = normalised(down(planes, wide[0], maps[0], bias=True), "none" if norm == "batch" else norm, wide[0])
        layers = [*first, nn.LeakyReLU(0.2)]
        for (inputs, outputs), side in zip(pairwise(wide), maps[1:-1], strict=True):
            layer = down(inputs, outputs, side, bias=norm != "batch")
            layers += [*normalised(layer, norm, outputs), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers, ChannelsLastFlatten())
        (self.last,) = normalised(nn.Linear(wide[-1] * BASE * BASE, 1), "spectral" if norm == "spectral" else "none", 1)

    def forward(self, images: Tensor, label: Tensor | None = None) -> Tensor:
        """float [N, C, H, W] and, where labels are told, int64 [N] to float [N]."""
        if self.label is not None:
            plane = self.label(label).view(-1, 1, *images.shape[2:])
            images = torch.cat([images, plane.to(images.dtype)], dim=1)
        logits: Tensor = self.last(self.layers(images))
        return logits.squeeze(1)
