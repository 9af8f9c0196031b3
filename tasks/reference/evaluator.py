"""A feature network as a yardstick: images in, feature vectors out."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from models.networks.classifier import Classifier, ClassifierConfig
from models.networks.pretrained import PRETRAINED, Dinov2, Inception
from models.pixels import to_model
from models.training.device import exact_float32
from tasks.common.files import sha256_file
from tasks.common.tensors import below, load_tensors, save_tensors
from tasks.reference.protocol import REFERENCE

NETWORK = "network.safetensors"
BATCH = 500
CPU = torch.device("cpu")


class Evaluator:
    """Features of images, computed in float32 on `device`.

    TF32 stays off, so that a GPU's features are those of the CPU but for sums in another order: 1e-4 of the largest.
    """

    def __init__(
        self,
        network: Classifier | Inception | Dinov2,
        device: torch.device = CPU,
        trained_with: Mapping[str, object] | None = None,
    ) -> None:
        """`trained_with`: what shaped the bits of a training (tasks/common/runtime.py), for the header of the file."""
        self._network, self.device = network.eval().to(memory_format=torch.channels_last).to(device), device
        self._trained_with = trained_with

    @property
    def kind(self) -> str:
        """classifier, selfsupervised, random, inception or dinov2."""
        return self._network.config.kind if isinstance(self._network, Classifier) else self._network.kind

    @property
    def resizer(self) -> str:
        """How images are brought to the size that the network sees."""
        return "none" if isinstance(self._network, Classifier) else self._network.resizer

    @torch.no_grad()
    def features(self, images: np.ndarray) -> np.ndarray:
        """float32 [N, F] for uint8 [N, C, H, W]; independent of how many are asked for at a time."""
        parts = []
        with exact_float32():
            for start in range(0, len(images), BATCH):
                raw = torch.from_numpy(np.ascontiguousarray(images[start : start + BATCH])).to(self.device)
                batch = to_model(raw).contiguous(memory_format=torch.channels_last)
                parts.append(self._network.features(batch).cpu().numpy())
        return np.concatenate(parts)

    @torch.no_grad()
    def labels(self, features: np.ndarray | Tensor) -> np.ndarray | None:
        """The label int64 [N] that features float [N, F] speak for; None from a judge that learnt no labels."""
        if not isinstance(self._network, Classifier) or self.kind != "classifier":
            return None
        logits: Tensor = self._network.head(torch.as_tensor(features, dtype=torch.float32, device=self.device))
        return logits.argmax(1).cpu().numpy()

    def save(self, folder: Path) -> None:
        """Writes the network into a folder, all that `load_evaluator` needs."""
        shape = self._network.config.model_dump() if isinstance(self._network, Classifier) else {}
        about: dict[str, Any] = {"kind": self.kind, "shape": shape}
        if self._trained_with:
            about["trained_with"] = self._trained_with
        save_tensors(folder / NETWORK, self._network.state_dict(), about)


def load_evaluator(folder: Path = REFERENCE, device: torch.device = CPU) -> tuple[Evaluator, str]:
    """The judge that a reference stage made, looking on `device`, and the SHA-256 of its weights."""
    path = folder / NETWORK
    tensors, about = load_tensors(path)
    if about["kind"] in PRETRAINED:
        return Evaluator(PRETRAINED[about["kind"]](below(tensors, "network")), device), sha256_file(path)
    classifier = Classifier(ClassifierConfig.model_validate(about["shape"]))
    classifier.load_state_dict(tensors)
    return Evaluator(classifier, device), sha256_file(path)
