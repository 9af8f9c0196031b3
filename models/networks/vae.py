"""The variational auto-encoder: encoder and decoder (Kingma & Welling 2014), plain or with residual blocks."""

from itertools import pairwise
from typing import Literal, assert_never

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from models.networks.layers import BASE, ChannelsLastFlatten, down, sides, stem, up, widths
from models.networks.norms import BatchNorm2d
from models.settings import Blocks

LOG_VARIANCE_RANGE = (-12.0, 8.0)  # a code's variance beyond it helps nobody and overflows bfloat16 sums


class VaeConfig(BaseModel):
    """What the weights of a VAE fit: image side and channels, code length, labels, width, network, output, prior."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    size: int
    image_channels: int
    latent: int
    classes: int  # that the prior is told; 0: none
    channels: int
    network: Blocks
    output: Literal["linear", "sigmoid"]
    prior_layers: int  # 0: codes follow N(0, I)
    prior_width: int


class Residual(nn.Module):
    """x + conv(relu(norm(conv(relu(norm(x)))))), the pre-activation block (He 2016), starting as the identity."""

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
        """float [N, C, H, W] to the same shape."""
        change: Tensor = self.layers(maps)
        return maps + change


def _between(network: Blocks, channels: int) -> list[nn.Module]:
    """What stands between two changes of the side."""
    match network:
        case "plain":
            return []
        case "residual":
            return [Residual(channels)]
    assert_never(network)


class Encoder(nn.Module):
    """Images float [N, C, H, W] in [-1, 1] to mean and log-variance of q(z|x), each float [N, L]."""

    def __init__(self, shape: VaeConfig) -> None:
        super().__init__()
        maps, wide = sides(shape.size)[::-1], widths(shape.size, shape.channels)[::-1]
        layers: list[nn.Module] = []
        for (inputs, outputs), side in zip(pairwise([shape.image_channels, *wide]), maps[:-1], strict=True):
            layers += [down(inputs, outputs, side, bias=False), BatchNorm2d(outputs), nn.ReLU()]
            layers += _between(shape.network, outputs)
        self.layers = nn.Sequential(*layers, ChannelsLastFlatten(), nn.Linear(wide[-1] * BASE * BASE, 2 * shape.latent))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """float [N, C, H, W] to two float [N, L]."""
        codes: Tensor = self.layers(images)
        mean, log_variance = codes.chunk(2, dim=1)
        return mean, log_variance.clamp(*LOG_VARIANCE_RANGE)


class Decoder(nn.Module):
    """Codes float [N, L] to images before the output law, float [N, C, H, W]; `to_image` applies the law."""

    def __init__(self, shape: VaeConfig) -> None:
        super().__init__()
        maps, wide = sides(shape.size), widths(shape.size, shape.channels)
        layers = stem(shape.latent, wide[0])
        for (inputs, outputs), side in zip(pairwise(wide), maps[1:-1], strict=True):
            layers += _between(shape.network, inputs)
            layers += [up(inputs, outputs, side, "transposed", bias=False), BatchNorm2d(outputs), nn.ReLU()]
        layers += _between(shape.network, wide[-1])
        layers += [up(wide[-1], shape.image_channels, maps[-1], "transposed", bias=True)]
        self.layers = nn.Sequential(*layers)
        self.output = shape.output

    def forward(self, codes: Tensor) -> Tensor:
        """float [N, L] to float [N, C, H, W]: the raw output, a logit where the law is a sigmoid."""
        raw: Tensor = self.layers(codes)
        return raw

    def to_image(self, raw: Tensor) -> Tensor:
        """The raw output to images in [-1, 1]; a linear output may overshoot, as in training."""
        match self.output:
            case "sigmoid":
                return raw.sigmoid() * 2 - 1
            case "linear":
                return raw
        assert_never(self.output)


def reparametrise(mean: Tensor, log_variance: Tensor, noise: Tensor) -> Tensor:
    """z = m + exp(v / 2) * e, the reparametrisation (Kingma & Welling 2014, eq. 4); all float [N, L]."""
    return mean + (log_variance / 2).exp() * noise


def sample(decoder: Decoder, prior: nn.Module | None, noise: Tensor, label: Tensor | None = None) -> Tensor:
    """Standard normal noise float [N, L], through the fitted prior if there is one, to images in [-1, 1].

    `label` is int64 [N] where the prior is told one.
    """
    codes = noise if prior is None else prior(noise, label)
    return torch.clamp(decoder.to_image(decoder(codes)), -1, 1)
