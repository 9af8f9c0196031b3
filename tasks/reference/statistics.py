"""What figures are measured with: a judge, what it said of the real images, and the protocol that names all of it."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tasks.common.errors import UserError
from tasks.common.files import read_json, sha256_file
from tasks.common.params import EvaluateSettings
from tasks.common.tensors import load_tensors
from tasks.metrics.frechet import Moments
from tasks.metrics.memorisation import Nearness
from tasks.reference.evaluator import CPU, Evaluator, load_evaluator
from tasks.reference.protocol import REFERENCE, SECOND, Protocol

NEIGHBOURHOOD = 50  # training images that say what is near; fewer where there are not as many


@dataclass(frozen=True)
class RealFeatures:
    """What the judge said of the real images: held-out ones with their labels, if any, and training ones.

    Figures are computed on the device where `test` and `train`, float32 [N, F], lie.
    """

    test: Tensor
    test_labels: np.ndarray | None
    train: Tensor
    test_moments: Moments
    train_moments: Moments

    @cached_property
    def nearness(self) -> Nearness:
        """How near the held-out images come to the training ones; searched for once."""
        return Nearness(self.test, self.train, neighbours=min(NEIGHBOURHOOD, len(self.train) - 1))


@dataclass(frozen=True)
class ReferenceStatistics:
    """A judge, the real images as it sees them, the protocol, and whether its own checks allow to trust it.

    `prepared` is the hash of the images that it looked at.
    """

    evaluator: Evaluator
    real: RealFeatures
    protocol: Protocol
    counts: bool
    prepared: str


def load_statistics_of_both(
    settings: EvaluateSettings, prepared: str | None = None, device: torch.device = CPU
) -> tuple[ReferenceStatistics, ReferenceStatistics]:
    """The first and the second judge's, which must have looked at the same images; see `load_statistics`."""
    first = load_statistics(REFERENCE, settings, prepared, device)
    return first, load_statistics(SECOND, settings, first.prepared, device)


def load_statistics(
    folder: Path, settings: EvaluateSettings, prepared: str | None = None, device: torch.device = CPU
) -> ReferenceStatistics:
    """Reads what a reference stage kept, onto the device where figures are to be taken.

    Raises UserError when it is missing or damaged, or was made of other images than those of the hash `prepared`.
    """
    try:
        return _load(folder, settings, prepared, device)
    except (KeyError, ValueError):
        raise UserError(f"{folder} is damaged or of another version; run its stage again") from None


def _load(folder: Path, settings: EvaluateSettings, prepared: str | None, device: torch.device) -> ReferenceStatistics:
    path = folder / "features.safetensors"
    evaluator, weights = load_evaluator(folder, device)
    tensors, about = load_tensors(path)
    if prepared is not None and about["prepared"] != prepared:
        raise UserError(f"{folder} was made of other images than data/prepared holds now; run its stage again")
    real = _real(tensors, device)
    count = min(settings.n_images, len(real.test))
    protocol = Protocol(
        network=evaluator.kind,
        weights=weights,
        resizer=evaluator.resizer,
        reference=sha256_file(path),
        n_images=settings.n_images,
        n_test=len(real.test),
        n_neighbour_scores=count,
        neighbours=neighbours(count, settings),
        subsets=settings.subsets,
        subset_size=subset_size(count, settings),
        seed=settings.seed,
    )
    counts = bool(read_json(folder / "evaluator.json")["counts"])
    return ReferenceStatistics(evaluator, real, protocol, counts, str(about["prepared"]))


def _real(tensors: dict[str, Tensor], device: torch.device) -> RealFeatures:
    train_moments = Moments(tensors["train_mean"], tensors["train_covariance"], int(tensors["train_count"]))
    test, train, labels = tensors["test"].to(device), tensors["train"].to(device), tensors.get("test_labels")
    told = None if labels is None else labels.numpy()
    return RealFeatures(test, told, train, Moments.of(test), train_moments.placed(device))


def subset_size(count: int, settings: EvaluateSettings) -> int:
    """Images in a subset of the kernel distance: as set, or half of a small test split."""
    return min(settings.subset_size, count // 2)


def neighbours(count: int, settings: EvaluateSettings) -> int:
    """k as set, or one less than the images of a tiny test split."""
    return min(settings.neighbours, count - 1)
