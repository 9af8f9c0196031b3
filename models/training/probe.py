"""The probe of a GAN's training: a distance between features of a small network with fixed random weights."""

from itertools import pairwise

import torch
from torch import Tensor, nn

from models.shapes import check_shape
from models.training.random import generator

DIRECTIONS = 256
EPSILON = 1e-12  # avoids a division by 0 where all real images are equal


class RandomFeatures(nn.Module):
    """Maps images float [N, C, H, W] in [-1, 1] to features float [N, 256] by three convolutions and pooling.

    Random convolutions keep enough of shape and texture to rank generators (Saxe 2011; He 2016, "Random weights").
    """

    def __init__(self, image_channels: int) -> None:
        super().__init__()
        self._channels, channels = image_channels, [image_channels, 16, 32, 64]
        self.layers = nn.Sequential()
        for inputs, outputs in pairwise(channels):
            layer = nn.Conv2d(inputs, outputs, 3, stride=2, padding=1)
            random = generator(0, "random features", outputs)
            layer.weight.data = torch.randn(layer.weight.shape, generator=random) * (2 / (9 * inputs)) ** 0.5
            layer.bias.data.zero_()  # type: ignore[union-attr]
            self.layers.extend([layer, nn.ReLU()])
        self.layers.extend([nn.AdaptiveAvgPool2d(2), nn.Flatten()])
        self.requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        """Returns features, 256 images at a time; raises ValueError for images of another shape or dtype."""
        check_shape(images, "images", ("N", self._channels, "H", "W"))
        return torch.cat([self.layers(part) for part in images.split(256)])  # type: ignore[no-untyped-call]


def sliced_wasserstein(a: Tensor, b: Tensor) -> float:
    """Returns the sliced 1-Wasserstein distance of two samples float [N, D] (Bonneel 2015, eq. 11).

    It averages over random directions. Raises ValueError where the shapes differ.
    """
    check_shape(a, "the first sample", ("N", "D"))
    check_shape(b, "the second sample", tuple(a.shape))
    directions = torch.randn(a.shape[1], DIRECTIONS, generator=generator(0, "directions")).to(a.device)
    directions = directions / directions.norm(dim=0)
    return float(((a @ directions).sort(dim=0).values - (b @ directions).sort(dim=0).values).abs().mean())


def relative_distance(generated: Tensor, real: Tensor) -> float:
    """Returns the sliced Wasserstein distance of two samples float [N, D], relative to that of `real` and its mean.

    It is 0 for equal samples and 1 for a generator that always returns the mean.
    """
    mean = real.mean(dim=0, keepdim=True).expand_as(real)
    return sliced_wasserstein(generated, real) / max(sliced_wasserstein(mean, real), EPSILON)


def spread(features: Tensor) -> float:
    """Returns the root of the total variance of a sample float [N, D]."""
    return float(features.var(0).sum().sqrt())
