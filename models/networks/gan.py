"""Generator and discriminator of the DCGAN (Radford, Metz & Chintala 2016)."""

from itertools import pairwise

import torch
from pydantic import BaseModel
from torch import Tensor, nn

from models.networks.layers import BASE, LABEL_LENGTH, ChannelsLastFlatten, down, normalised, sides, stem, up, widths
from models.networks.norms import BatchNorm2d
from models.settings import Norm, Upsampling
from models.shapes import check_shape


class GanConfig(BaseModel, extra="forbid", frozen=True):
    """The architecture of a GAN's networks."""

    size: int
    image_channels: int
    noise: int
    classes: int  # 0: unconditional
    channels: int
    upsample: Upsampling


class Generator(nn.Module):
    """Maps standard normal noise float [N, L] to images float [N, C, H, W] in [-1, 1].

    A conditional generator also takes labels int64 [N] and concatenates their embedding with the noise (Mirza &
    Osindero 2014).
    """

    def __init__(self, config: GanConfig) -> None:
        super().__init__()
        self._noise = config.noise
        maps, channels = sides(config.size), widths(config.size, config.channels)
        self.label = nn.Embedding(config.classes, LABEL_LENGTH) if config.classes else None
        layers = stem(config.noise + (LABEL_LENGTH if config.classes else 0), channels[0])
        for (inputs, outputs), side in zip(pairwise(channels), maps[1:-1], strict=True):
            layers += [up(inputs, outputs, side, config.upsample, bias=False), BatchNorm2d(outputs), nn.ReLU()]
        layers += [up(channels[-1], config.image_channels, maps[-1], config.upsample, bias=True), nn.Tanh()]
        self.layers = nn.Sequential(*layers)

    def forward(self, noise: Tensor, label: Tensor | None = None) -> Tensor:
        """Returns images float [N, C, H, W] in [-1, 1]; raises ValueError for inputs of another shape or dtype."""
        check_shape(noise, "noise", ("N", self._noise))
        if self.label is not None:
            check_shape(label, "label", ("N",), "int64")
            noise = torch.cat([noise, self.label(label)], dim=1)
        images: Tensor = self.layers(noise)
        return images


class Discriminator(nn.Module):
    """Maps images float [N, C, H, W] in [-1, 1] to logits float [N]: above 0 for real, below 0 for generated.

    A conditional discriminator also takes labels int64 [N] and appends their embedding to the image as another channel
    (Mirza & Osindero 2014).
    """

    def __init__(self, config: GanConfig, norm: Norm) -> None:
        super().__init__()
        self._image = config.image_channels, config.size, config.size
        maps, channels = sides(config.size)[::-1], widths(config.size, config.channels)[::-1]
        self.label = nn.Embedding(config.classes, config.size**2) if config.classes else None
        planes = config.image_channels + bool(config.classes)
        # No batch statistics on the first layer (Radford 2016, section 3).
        first = down(planes, channels[0], maps[0], bias=True)
        layers = [*normalised(first, "none" if norm == "batch" else norm, channels[0]), nn.LeakyReLU(0.2)]
        for (inputs, outputs), side in zip(pairwise(channels), maps[1:-1], strict=True):
            layer = down(inputs, outputs, side, bias=norm != "batch")
            layers += [*normalised(layer, norm, outputs), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers, ChannelsLastFlatten())
        last = nn.Linear(channels[-1] * BASE * BASE, 1)
        (self.last,) = normalised(last, "spectral" if norm == "spectral" else "none", 1)

    def forward(self, images: Tensor, label: Tensor | None = None) -> Tensor:
        """Returns logits float [N]; raises ValueError for inputs of another shape or dtype."""
        check_shape(images, "images", ("N", *self._image))
        if self.label is not None:
            check_shape(label, "label", ("N",), "int64")
            plane = self.label(label).view(-1, 1, *images.shape[2:])
            images = torch.cat([images, plane.to(images.dtype)], dim=1)
        logits: Tensor = self.last(self.layers(images))
        return logits.squeeze(1)
