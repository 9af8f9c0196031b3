"""A yardstick for training that needs no judge: distances on a small random network that never learns."""

from itertools import pairwise

import torch
from torch import Tensor, nn

from models.training.random import generator

DIRECTIONS = 256
LEAST = 1e-12  # where the real images are all equal


class RandomFeatures(nn.Module):
    """Images float [N, C, H, W] in [-1, 1] to float [N, 256]: three seeded convolutions, averaged over a 2 x 2 map.

    Random convolutions keep enough of shape and texture to rank generators (Saxe 2011; He 2016, "Random weights").
    """

    def __init__(self, image_channels: int) -> None:
        super().__init__()
        channels = [image_channels, 16, 32, 64]
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
        """float [N, C, H, W] to float [N, 256], 256 images at a time."""
        return torch.cat([self.layers(part) for part in images.split(256)])  # type: ignore[no-untyped-call]


def sliced_wasserstein(a: Tensor, b: Tensor) -> float:
    """Mean over random directions of the 1-Wasserstein distance of two samples float [N, D] (Bonneel 2015, eq. 11).

    Symmetric, 0 for equal samples. Raises ValueError when the counts differ.
    """
    if len(a) != len(b):
        raise ValueError(f"the samples have {len(a)} and {len(b)} rows; they must be equal")
    directions = torch.randn(a.shape[1], DIRECTIONS, generator=generator(0, "directions")).to(a.device)
    directions = directions / directions.norm(dim=0)
    return float(((a @ directions).sort(dim=0).values - (b @ directions).sort(dim=0).values).abs().mean())


def relative_distance(generated: Tensor, real: Tensor) -> float:
    """Sliced Wasserstein distance of two samples float [N, D] in units of that between the real one and its own mean.

    0 for equal samples, 1 for a generator that gives one point for ever, and that the best one.
    """
    mean = real.mean(dim=0, keepdim=True).expand_as(real)
    return sliced_wasserstein(generated, real) / max(sliced_wasserstein(mean, real), LEAST)


def spread(features: Tensor) -> float:
    """Root of the summed variances of a sample float [N, D]: how far it lies around its mean."""
    return float(features.var(0).sum().sqrt())
