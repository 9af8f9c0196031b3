"""The feature network that judges: a small convolutional classifier whose last hidden layer is the feature vector."""

from typing import Literal

from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn


class ClassifierShape(BaseModel):
    """What the weights fit: image channels, width, length of the features, classes, and what was told apart."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    image_channels: int
    channels: int
    features: int
    classes: int
    task: Literal["labels", "rotations"]


class Classifier(nn.Module):
    """Images float [N, C, H, W] in [-1, 1], of any size from 8, to logits float [N, K]."""

    def __init__(self, shape: ClassifierShape) -> None:
        super().__init__()
        c = shape.channels
        self.body = nn.Sequential(
            *_block(shape.image_channels, c, stride=2),
            *_block(c, 2 * c, stride=1),
            *_block(2 * c, 2 * c, stride=2),
            *_block(2 * c, 4 * c, stride=1),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
        )
        self.hidden = nn.Sequential(nn.Linear(16 * c, shape.features), nn.BatchNorm1d(shape.features), nn.ReLU())
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
    return [convolution, nn.BatchNorm2d(outputs), nn.ReLU()]
