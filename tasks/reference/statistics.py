"""The reference statistics: an evaluator, its features of the real images, and the protocol."""

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
from tasks.metrics.memorisation import MemorisationTest
from tasks.reference.evaluator import CPU, Evaluator, load_evaluator
from tasks.reference.protocol import REFERENCE, SECOND, Protocol


@dataclass(frozen=True)
class RealFeatures:
    """Features of held-out and training images, float32 [N, F], on the device where metrics are computed.

    `test_labels` int64 [N] is None without labels. `train_moments` are those of all training images, `train` may hold a
    part of them.
    """

    test: Tensor
    test_labels: np.ndarray | None
    train: Tensor
    test_moments: Moments
    train_moments: Moments

    @cached_property
    def memorisation_test(self) -> MemorisationTest:
        """The test for memorisation against the held-out images."""
        return MemorisationTest(self.test, self.train, neighbours=self.memorisation_neighbours)

    @property
    def memorisation_neighbours(self) -> int:
        """Number of nearest training images in a distance ratio: 50, or all but one if there are fewer."""
        return min(50, len(self.train) - 1)


@dataclass(frozen=True)
class ReferenceStatistics:
    """An evaluator with its features of the real images.

    `trusted` says whether the evaluator passes its checks (tasks/reference/validate.py); `prepared` is the hash of the
    data set.
    """

    evaluator: Evaluator
    real: RealFeatures
    protocol: Protocol
    trusted: bool
    prepared: str


def load_statistics_of_both(
    settings: EvaluateSettings, prepared: str | None = None, device: torch.device = CPU
) -> tuple[ReferenceStatistics, ReferenceStatistics]:
    """Loads the statistics of the first and the second evaluator, which must be of the same data set."""
    first = load_statistics(REFERENCE, settings, prepared, device)
    return first, load_statistics(SECOND, settings, first.prepared, device)


def load_statistics(
    folder: Path, settings: EvaluateSettings, prepared: str | None = None, device: torch.device = CPU
) -> ReferenceStatistics:
    """Loads the outputs of a reference stage onto `device`.

    Raises UserError if they are missing or damaged, or belong to another data set than that with the hash `prepared`.
    """
    try:
        path = folder / "features.safetensors"
        evaluator, weights = load_evaluator(folder, device)
        tensors, about = load_tensors(path)
        if prepared is not None and about["prepared"] != prepared:
            raise UserError(f"{folder} was made from other images than data/prepared holds now; run its stage again")
        test, train = tensors["test"].to(device), tensors["train"].to(device)
        labels = tensors["test_labels"].numpy() if "test_labels" in tensors else None
        moments = Moments(tensors["train_mean"], tensors["train_covariance"], int(tensors["train_count"])).to(device)
        real = RealFeatures(test, labels, train, Moments.of(test), moments)
        count = min(settings.n_images, len(test))
        protocol = Protocol(
            network=evaluator.kind,
            weights=weights,
            resizer=evaluator.resizer,
            reference=sha256_file(path),
            n_images=settings.n_images,
            n_test=len(test),
            n_neighbour_scores=count,
            neighbours=neighbours(count, settings),
            subsets=settings.subsets,
            subset_size=subset_size(count, settings),
            seed=settings.seed,
        )
        trusted = bool(read_json(folder / "evaluator.json")["trusted"])
        return ReferenceStatistics(evaluator, real, protocol, trusted, str(about["prepared"]))
    except (KeyError, ValueError):
        raise UserError(f"{folder} is damaged or of another version; run its stage again") from None


def subset_size(count: int, settings: EvaluateSettings) -> int:
    """Images in a subset of the kernel distance: `settings.subset_size`, at most half of the test split."""
    return min(settings.subset_size, count // 2)


def neighbours(count: int, settings: EvaluateSettings) -> int:
    """k of the neighbour scores: `settings.neighbours`, at most one less than the images of the test split."""
    return min(settings.neighbours, count - 1)
