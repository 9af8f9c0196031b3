"""The evaluator: a network that extracts features from images."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from models.networks.classifier import Classifier, ClassifierConfig
from models.networks.pretrained import PRETRAINED, Dinov2, Inception, PretrainedName
from models.pixels import to_model
from models.settings import WeightsFile
from models.training.device import exact_float32
from tasks.common.errors import UserError
from tasks.common.files import sha256_file
from tasks.common.tensors import load_tensors, save_tensors, select_prefix
from tasks.reference.protocol import REFERENCE

NETWORK = "network.safetensors"
BATCH = 500
CPU = torch.device("cpu")


class Evaluator:
    """A feature network on `device`, in float32.

    TF32 stays off, so that features on a GPU differ from those on a CPU by the order of sums alone: by 1e-4 of the
    largest feature.
    """

    def __init__(
        self,
        network: Classifier | Inception | Dinov2,
        device: torch.device = CPU,
        trained_with: Mapping[str, object] | None = None,
    ) -> None:
        """`trained_with` names the libraries and the device of the training; it is written into the file's header."""
        self._network, self.device = network.eval().to(memory_format=torch.channels_last).to(device), device
        self._trained_with = trained_with

    @property
    def kind(self) -> str:
        """One of classifier, selfsupervised, random, inception and dinov2."""
        return self._network.config.kind if isinstance(self._network, Classifier) else self._network.kind

    @property
    def resizer(self) -> str:
        """The method that resizes images to the network's input."""
        return "none" if isinstance(self._network, Classifier) else self._network.resizer

    @torch.no_grad()
    def features(self, images: np.ndarray) -> np.ndarray:
        """Extracts features float32 [N, F] from uint8 [N, C, H, W], BATCH images at a time."""
        parts = []
        with exact_float32():
            for start in range(0, len(images), BATCH):
                raw = torch.from_numpy(np.ascontiguousarray(images[start : start + BATCH])).to(self.device)
                batch = to_model(raw).contiguous(memory_format=torch.channels_last)
                parts.append(self._network.features(batch).cpu().numpy())
        return np.concatenate(parts)

    @torch.no_grad()
    def labels(self, features: np.ndarray | Tensor) -> np.ndarray | None:
        """Classifies features float [N, F]; returns labels int64 [N], None unless the network is a classifier."""
        if not isinstance(self._network, Classifier) or self.kind != "classifier":
            return None
        logits: Tensor = self._network.head(torch.as_tensor(features, dtype=torch.float32, device=self.device))
        return logits.argmax(1).cpu().numpy()

    def save(self, folder: Path) -> None:
        """Writes the network to a folder for `load_evaluator`."""
        shape = self._network.config.model_dump() if isinstance(self._network, Classifier) else {}
        about: dict[str, Any] = {"trained_with": self._trained_with} if self._trained_with else {}
        save_tensors(folder / NETWORK, self._network.state_dict(), about | {"kind": self.kind, "shape": shape})


def load_evaluator(folder: Path = REFERENCE, device: torch.device = CPU) -> tuple[Evaluator, str]:
    """Loads the evaluator of a reference stage onto `device`; returns it and the SHA-256 of its file."""
    path = folder / NETWORK
    tensors, about = load_tensors(path)
    if about["kind"] in PRETRAINED:
        return Evaluator(PRETRAINED[about["kind"]](select_prefix(tensors, "network")), device), sha256_file(path)
    classifier = Classifier(ClassifierConfig.model_validate(about["shape"]))
    classifier.load_state_dict(tensors)
    return Evaluator(classifier, device), sha256_file(path)


def load_pretrained(name: PretrainedName, settings: WeightsFile, where: str) -> Inception | Dinov2:
    """Loads a network with the weights of a file that the user supplies; nothing is downloaded.

    `where` names the setting in error messages. Raises UserError if the file is missing, has another hash or does not
    fit the network.
    """
    if not settings.file or not settings.sha256:
        raise UserError(f"{where}: {name} needs a file of pretrained weights; set file and that file's sha256")
    path = Path(settings.file).expanduser()
    if not path.is_file():
        raise UserError(f"{where}.file is {path}, but there is no such file; download it yourself and put it there")
    found = sha256_file(path)
    if found != settings.sha256:
        raise UserError(f"{where}.sha256 is {settings.sha256}, but {path} has {found}; correct the hash or the file")
    try:
        return PRETRAINED[name](_read_state_dict(path))
    except ValueError as error:
        raise UserError(f"{path} cannot be used as {name}: {error}") from None


def _read_state_dict(path: Path) -> dict[str, Tensor]:
    """Reads a .safetensors or, with `weights_only`, a pickled file; raises ValueError if it holds anything else."""
    try:
        weights = load_file(path) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True)
    except Exception:  # an unpickler raises anything for bytes that are no pickle
        raise ValueError("it is damaged, or holds more than tensors, which could run code and is not loaded") from None
    if not isinstance(weights, dict) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in weights.items()
    ):
        raise ValueError("it is not a dict of tensors by name")
    return weights
