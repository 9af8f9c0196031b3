"""The training of feature networks: by labels, or by rotations, which need no labels (Gidaris 2018)."""

from typing import Literal, assert_never

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.networks.classifier import Classifier, ClassifierConfig, Kind
from models.settings import ClassifierSettings
from models.training.device import Mode
from models.training.learner import Batch, Images, Losses, Row, Schedule, progress
from models.training.loaders import evaluation_batches
from models.training.microbatches import MicroBatches
from models.training.optimisers import learning_rate, make_optimiser, set_learning_rate
from models.training.random import generator as stream
from models.training.random import seeded

TrainedKind = Literal["classifier", "selfsupervised"]


def make_classifier(settings: ClassifierSettings, kind: Kind, image_channels: int, classes: int) -> Classifier:
    """Returns an untrained network, whose weights depend on the seed and the kind."""
    config = ClassifierConfig(
        image_channels=image_channels,
        channels=settings.channels,
        features=settings.features,
        classes=classes,
        kind=kind,
    )
    with seeded(settings.seed, f"{kind} weights"):
        return Classifier(config)


class ClassifierLearner:
    """A classifier of labels, or of rotations by multiples of 90 degrees."""

    losses = ("cross_entropy",)
    diagnostics = ("probe",)

    def __init__(
        self, settings: ClassifierSettings, kind: TrainedKind, image_channels: int, classes: int, mode: Mode
    ) -> None:
        """`classes` is the number of labels in the data; raises ValueError for a classifier without labels."""
        if kind == "classifier" and not classes:
            raise ValueError("a classifier needs labels and the data has no labels; choose selfsupervised")
        self.settings, self.mode, self._kind = settings, mode, kind
        network = make_classifier(settings, kind, image_channels, classes if kind == "classifier" else 4)
        self.classifier, self.config = mode.place_network(network), network.config
        self.networks: dict[str, nn.Module] = {"classifier": self.classifier}
        self.optimisers = {"optimiser": make_optimiser(self.classifier.parameters(), settings.optimiser, mode)}
        self._run = MicroBatches(settings.micro_batch, mode)

    def schedule(self, n_images: int, lr_scale: float) -> Schedule:
        """Returns the learning rate."""
        return Schedule({"rate": lr_scale * learning_rate(self.settings.optimiser, progress(self.settings, n_images))})

    def sample_noise(self, n_images: int, count: int) -> dict[str, Tensor]:
        """Returns uniform `lift` [2, N, 1, 1, 1]: how much, and whether, each image's background is brightened."""
        random = stream(self.settings.seed, "lift", n_images, self.mode.device)
        return {"lift": torch.rand(2, count, 1, 1, 1, generator=random, device=self.mode.device)}

    def step(self, batch: Batch, schedule: Schedule) -> Losses:
        """Updates the network once on the cross-entropy in nats."""
        optimiser = self.optimisers["optimiser"]
        set_learning_rate(optimiser, schedule.rates["rate"])
        images, targets = self._task(self._lift_background(batch.images, batch.random["lift"]), batch.labels)
        with self.mode.cast():
            logits = self._run(self.classifier, images)
        loss = F.cross_entropy(logits.float(), targets)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        return {"cross_entropy": loss.detach()}

    def _lift_background(self, images: Tensor, lift: Tensor) -> Tensor:
        """Returns x + a (1 - x) with a from U(0, shift) for half of the images.

        This makes the features insensitive to changes of the background that nobody can see.
        """
        amount = lift[0] * self.settings.shift * (lift[1] < 0.5)
        return images + amount * (1 - images)

    def _task(self, images: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor]:
        match self._kind:
            case "classifier":
                assert labels is not None
                return images, labels
            case "selfsupervised":
                return _rotated(images)
        assert_never(self._kind)

    def probe(self, validation: Images) -> dict[str, float]:
        """Returns `probe`, the error rate on held-out images."""
        return {"probe": 1 - self.accuracy(validation)}

    def diagnose(self, row: Row, best: float | None) -> str | None:
        """Returns None: the engine itself detects losses that are not finite."""
        return None

    @torch.no_grad()
    def accuracy(self, images: Images) -> float:
        """Returns the share of images that are classified correctly, in eval mode and float32."""
        self.classifier.eval()
        correct = 0
        for rows, batch in evaluation_batches(images, self.mode):
            labels = None if images.labels is None else torch.from_numpy(images.labels[rows]).to(self.mode.device)
            inputs, targets = self._task(batch, labels)
            correct += int((self.classifier(inputs).argmax(1) == targets).sum())
        self.classifier.train()
        return correct / len(images)


def _rotated(images: Tensor) -> tuple[Tensor, Tensor]:
    """Rotates image n by n quarter turns; returns the images and the number of turns modulo 4, int64 [N]."""
    targets = torch.arange(len(images), device=images.device) % 4
    rotated = torch.empty_like(images)
    for turns in range(4):
        rotated[turns::4] = torch.rot90(images[turns::4], turns, (2, 3))
    return rotated, targets
