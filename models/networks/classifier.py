"""The feature network that judges: a small convolutional classifier whose last hidden layer is the feature vector."""

from typing import Literal

import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from models.networks.norms import BatchNorm1d, BatchNorm2d

Kind = Literal["classifier", "selfsupervised", "random"]


class ClassifierConfig(BaseModel):
    """What the weights fit: image channels, width, length of the features, classes, and what the network learnt.

    `classifier`: labels; `selfsupervised`: quarter turns; `random`: nothing, its weights are as they were drawn.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    image_channels: int
    channels: int
    features: int
    classes: int
    kind: Kind


class QuadrantAvgPool2d(nn.Module):
    """The 2 x 2 means of `nn.AdaptiveAvgPool2d(2)`, whose gradient cannot repeat itself on a GPU."""

    def forward(self, maps: Tensor) -> Tensor:
        """float [N, C, H, W], H and W at least 2, to float [N, C, 2, 2]; windows of an odd side share its middle."""
        height, width = maps.shape[2:]
        return F.avg_pool2d(maps, ((height + 1) // 2, (width + 1) // 2), (height // 2, width // 2))


class Classifier(nn.Module):
    """Images float [N, C, H, W] in [-1, 1], of any size from 8, to logits float [N, K]."""

    def __init__(self, shape: ClassifierConfig) -> None:
        super().__init__()
        self.config, c = shape, shape.channels
        self.body = nn.Sequential(
            *_block(shape.image_channels, c, stride=2),
            *_block(c, 2 * c, stride=1),
            *_block(2 * c, 2 * c, stride=2),
            *_block(2 * c, 4 * c, stride=1),
            QuadrantAvgPool2d(),
            nn.Flatten(),
        )
        self.hidden = nn.Sequential(nn.Linear(16 * c, shape.features), BatchNorm1d(shape.features), nn.ReLU())
        self.head = nn.Linear(shape.features, shape.classes)

    def features(self, images: Tensor) -> Tensor:
        """float [N, C, H, W] in [-1, 1] to the feature vector, float [N, F]."""
        vectors: Tensor = self.hidden(self.body(images))
        return vectors

    def forward(self, images: Tensor) -> Tensor:
        """float [N, C, H, W] in [-1, 1] to logits, float [N, K]."""
        logits: Tensor = self.head(self.features(images))
        return logits


def _block(inputs: int, outputs: int, stride: int) -> list[nn.Module]:
    convolution = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
    return [convolution, BatchNorm2d(outputs), nn.ReLU()]
