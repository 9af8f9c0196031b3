"""Encoder and decoder of a variational auto-encoder (Kingma & Welling 2014)."""

from itertools import pairwise
from typing import Literal, assert_never

import torch
from pydantic import BaseModel
from torch import Tensor, nn

from models.networks.layers import BASE, ChannelsLastFlatten, down, sides, stem, up, widths
from models.networks.norms import BatchNorm2d
from models.settings import Blocks
from models.shapes import check_shape

LOG_VARIANCE_RANGE = (-12.0, 8.0)  # outside it, nothing improves and sums overflow in bfloat16


class VaeConfig(BaseModel, extra="forbid", frozen=True):
    """The architecture of a VAE and its prior."""

    size: int
    image_channels: int
    latent: int
    classes: int  # labels that condition the prior; 0: unconditional
    channels: int
    network: Blocks
    output: Literal["linear", "sigmoid"]
    prior_layers: int  # 0: the prior is N(0, I)
    prior_width: int


class Residual(nn.Module):
    """Pre-activation residual block x + conv(relu(norm(conv(relu(norm(x)))))) (He 2016), initially the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        last = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(last.weight)
        self.layers = nn.Sequential(
            BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            BatchNorm2d(channels),
            nn.ReLU(),
            last,
        )

    def forward(self, maps: Tensor) -> Tensor:
        """Maps float [N, C, H, W] to the same shape."""
        change: Tensor = self.layers(maps)
        return maps + change


def _blocks(network: Blocks, channels: int) -> list[nn.Module]:
    """Returns the layers between two changes of resolution."""
    match network:
        case "plain":
            return []
        case "residual":
            return [Residual(channels)]
    assert_never(network)


class Encoder(nn.Module):
    """Maps images float [N, C, H, W] in [-1, 1] to mean and log-variance of q(z|x), each float [N, L]."""

    def __init__(self, config: VaeConfig) -> None:
        super().__init__()
        self._image = config.image_channels, config.size, config.size
        maps, channels = sides(config.size)[::-1], widths(config.size, config.channels)[::-1]
        layers: list[nn.Module] = []
        for (inputs, outputs), side in zip(pairwise([config.image_channels, *channels]), maps[:-1], strict=True):
            layers += [down(inputs, outputs, side, bias=False), BatchNorm2d(outputs), nn.ReLU()]
            layers += _blocks(config.network, outputs)
        last = nn.Linear(channels[-1] * BASE * BASE, 2 * config.latent)
        self.layers = nn.Sequential(*layers, ChannelsLastFlatten(), last)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Returns mean and log-variance; raises ValueError for images of another shape or dtype."""
        check_shape(images, "images", ("N", *self._image))
        codes: Tensor = self.layers(images)
        mean, log_variance = codes.chunk(2, dim=1)
        return mean, log_variance.clamp(*LOG_VARIANCE_RANGE)


class Decoder(nn.Module):
    """Maps codes float [N, L] to raw outputs float [N, C, H, W], which `to_image` turns into images."""

    def __init__(self, config: VaeConfig) -> None:
        super().__init__()
        maps, channels = sides(config.size), widths(config.size, config.channels)
        layers = stem(config.latent, channels[0])
        for (inputs, outputs), side in zip(pairwise(channels), maps[1:-1], strict=True):
            layers += _blocks(config.network, inputs)
            layers += [up(inputs, outputs, side, "transposed", bias=False), BatchNorm2d(outputs), nn.ReLU()]
        layers += _blocks(config.network, channels[-1])
        layers += [up(channels[-1], config.image_channels, maps[-1], "transposed", bias=True)]
        self.layers = nn.Sequential(*layers)
        self.output, self._latent = config.output, config.latent

    def forward(self, codes: Tensor) -> Tensor:
        """Returns raw outputs, logits for a sigmoid; raises ValueError for codes of another shape or dtype."""
        check_shape(codes, "codes", ("N", self._latent))
        raw: Tensor = self.layers(codes)
        return raw

    def to_image(self, raw: Tensor) -> Tensor:
        """Converts raw outputs to images in [-1, 1]; a linear output may exceed that range."""
        match self.output:
            case "sigmoid":
                return raw.sigmoid() * 2 - 1
            case "linear":
                return raw
        assert_never(self.output)


def reparametrise(mean: Tensor, log_variance: Tensor, noise: Tensor) -> Tensor:
    """Returns codes z = m + exp(v / 2) * e (Kingma & Welling 2014, eq. 4).

    All are float [N, L]; other shapes raise ValueError.
    """
    check_shape(mean, "mean", ("N", "L"))
    check_shape(log_variance, "log-variance", tuple(mean.shape))
    check_shape(noise, "noise", tuple(mean.shape))
    return mean + (log_variance / 2).exp() * noise


def sample(decoder: Decoder, prior: nn.Module | None, noise: Tensor, label: Tensor | None = None) -> Tensor:
    """Maps standard normal noise float [N, L] through the fitted prior, if any, and the decoder to images in [-1, 1].

    A conditional prior needs `label`, int64 [N].
    """
    codes = noise if prior is None else prior(noise, label)
    return torch.clamp(decoder.to_image(decoder(codes)), -1, 1)
