"""A small convolutional classifier whose last hidden layer is the feature vector of the evaluation."""

from typing import Literal

import torch.nn.functional as F
from pydantic import BaseModel
from torch import Tensor, nn

from models.networks.norms import BatchNorm1d, BatchNorm2d
from models.shapes import check_shape

Kind = Literal["classifier", "selfsupervised", "random"]


class ClassifierConfig(BaseModel, extra="forbid", frozen=True):
    """The architecture of a classifier, and its training task.

    `classifier` predicts labels, `selfsupervised` predicts rotations, and `random` keeps its initial weights.
    """

    image_channels: int
    channels: int
    features: int
    classes: int
    kind: Kind


class QuadrantAvgPool2d(nn.Module):
    """`nn.AdaptiveAvgPool2d(2)` with a gradient that is deterministic on a GPU."""

    def forward(self, maps: Tensor) -> Tensor:
        """Maps float [N, C, H, W], H and W at least 2, to float [N, C, 2, 2]."""
        height, width = maps.shape[2:]
        return F.avg_pool2d(maps, ((height + 1) // 2, (width + 1) // 2), (height // 2, width // 2))


class Classifier(nn.Module):
    """Maps images float [N, C, H, W] in [-1, 1], at least 8 x 8, to logits float [N, K]."""

    def __init__(self, config: ClassifierConfig) -> None:
        super().__init__()
        self.config, c = config, config.channels
        self.body = nn.Sequential(
            *_block(config.image_channels, c, stride=2),
            *_block(c, 2 * c, stride=1),
            *_block(2 * c, 2 * c, stride=2),
            *_block(2 * c, 4 * c, stride=1),
            QuadrantAvgPool2d(),
            nn.Flatten(),
        )
        self.hidden = nn.Sequential(nn.Linear(16 * c, config.features), BatchNorm1d(config.features), nn.ReLU())
        self.head = nn.Linear(config.features, config.classes)

    def features(self, images: Tensor) -> Tensor:
        """Returns feature vectors float [N, F]; raises ValueError for images of another shape or dtype."""
        check_shape(images, "images", ("N", self.config.image_channels, "H", "W"))
        vectors: Tensor = self.hidden(self.body(images))
        return vectors

    def forward(self, images: Tensor) -> Tensor:
        """Returns logits float [N, K]; raises ValueError for images of another shape or dtype."""
        logits: Tensor = self.head(self.features(images))
        return logits


def _block(inputs: int, outputs: int, stride: int) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False), BatchNorm2d(outputs), nn.ReLU()]
