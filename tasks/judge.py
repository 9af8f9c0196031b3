"""A feature network as a yardstick: images in, feature vectors out."""

from pathlib import Path

import numpy as np
import torch

from models.classifier import Classifier, ClassifierShape
from models.pixels import to_model
from models.supplied import SUPPLIED, Dinov2, Inception
from tasks.files import sha256_file
from tasks.weights import below, load_tensors, save_tensors

REFERENCE, SECOND = Path("data/reference"), Path("data/reference_second")
NETWORK = "network.safetensors"
BATCH = 500


class Judge:
    """Features of images, computed in float32 on the CPU so that they are the same with and without a GPU."""

    def __init__(self, network: Classifier | Inception | Dinov2) -> None:
        self._network = network.cpu().eval().to(memory_format=torch.channels_last)

    @property
    def kind(self) -> str:
        """classifier, selfsupervised, random, inception or dinov2."""
        return self._network.shape.kind if isinstance(self._network, Classifier) else self._network.kind

    @property
    def resizer(self) -> str:
        """How images are brought to the size that the network sees."""
        return "none" if isinstance(self._network, Classifier) else self._network.resizer

    @torch.no_grad()
    def features(self, images: np.ndarray) -> np.ndarray:
        """float32 [N, F] for uint8 [N, C, H, W]; independent of how many are asked for at a time."""
        parts = []
        for start in range(0, len(images), BATCH):
            batch = to_model(torch.from_numpy(np.ascontiguousarray(images[start : start + BATCH])))
            parts.append(self._network.features(batch.contiguous(memory_format=torch.channels_last)).numpy())
        return np.concatenate(parts)

    @torch.no_grad()
    def labels(self, features: np.ndarray) -> np.ndarray | None:
        """The label int64 [N] that features float32 [N, F] speak for; None from a judge that learnt no labels."""
        if not isinstance(self._network, Classifier) or self.kind != "classifier":
            return None
        logits: torch.Tensor = self._network.head(torch.from_numpy(features))
        return logits.argmax(1).numpy()

    def save(self, folder: Path) -> None:
        """Writes the network into a folder, all that `load_judge` needs."""
        shape = self._network.shape.model_dump() if isinstance(self._network, Classifier) else {}
        save_tensors(folder / NETWORK, self._network.state_dict(), {"kind": self.kind, "shape": shape})


def load_judge(folder: Path = REFERENCE) -> tuple[Judge, str]:
    """The judge that a reference stage made, and the SHA-256 of its weights."""
    path = folder / NETWORK
    tensors, about = load_tensors(path)
    if about["kind"] in SUPPLIED:
        return Judge(SUPPLIED[about["kind"]](below(tensors, "network"))), sha256_file(path)
    classifier = Classifier(ClassifierShape.model_validate(about["shape"]))
    classifier.load_state_dict(tensors)
    return Judge(classifier), sha256_file(path)
