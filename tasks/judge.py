"""The trained feature network as a yardstick: images in, feature vectors out."""

from pathlib import Path

import numpy as np
import torch

from models.classifier import Classifier, ClassifierShape
from models.pixels import to_model
from tasks.files import sha256_file
from tasks.weights import load_tensors

REFERENCE = Path("data/reference")
BATCH = 500


class Judge:
    """Features of images, computed in float32 on the CPU so that they are the same with and without a GPU."""

    def __init__(self, classifier: Classifier) -> None:
        self._classifier = classifier.cpu().eval().to(memory_format=torch.channels_last)

    @torch.no_grad()
    def features(self, images: np.ndarray) -> np.ndarray:
        """float32 [N, F] for uint8 [N, C, H, W]; independent of how many are asked for at a time."""
        parts = []
        for start in range(0, len(images), BATCH):
            batch = to_model(torch.from_numpy(np.ascontiguousarray(images[start : start + BATCH])))
            parts.append(self._classifier.features(batch.contiguous(memory_format=torch.channels_last)).numpy())
        return np.concatenate(parts)

    @torch.no_grad()
    def labels(self, features: np.ndarray) -> np.ndarray | None:
        """The label int64 [N] that features float32 [N, F] speak for; None from a judge that learnt no labels."""
        if self._classifier.shape.task != "labels":
            return None
        logits: torch.Tensor = self._classifier.head(torch.from_numpy(features))
        return logits.argmax(1).numpy()


def load_judge(folder: Path = REFERENCE) -> tuple[Judge, str]:
    """The judge that the reference stage made, and the SHA-256 of its weights."""
    path = folder / "classifier.safetensors"
    tensors, about = load_tensors(path)
    classifier = Classifier(ClassifierShape.model_validate(about["shape"]))
    classifier.load_state_dict(tensors)
    return Judge(classifier), sha256_file(path)
