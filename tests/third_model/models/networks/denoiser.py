"""A small residual network that removes noise from images."""

import torch
from pydantic import BaseModel
from torch import Tensor, nn

from models.shapes import check_shape


class DenoiserConfig(BaseModel):
    """The architecture."""

    size: int
    image_channels: int
    channels: int


class Denoiser(nn.Module):
    """Maps noisy images float [N, C, H, W] to images float [N, C, H, W] in [-1, 1]: the input minus a residual."""

    def __init__(self, config: DenoiserConfig) -> None:
        super().__init__()
        self._image = config.image_channels, config.size, config.size
        self.layers = nn.Sequential(
            nn.Conv2d(config.image_channels, config.channels, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(config.channels, config.image_channels, 3, padding=1),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Returns images of the same shape; raises ValueError for another shape than the configuration's."""
        check_shape(images, "images", ("N", *self._image))
        cleaned: Tensor = images - self.layers(images)
        return torch.clamp(cleaned, -1, 1)
