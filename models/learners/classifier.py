"""The training of networks that judge: by class labels, or by quarter turns, which need none."""

from typing import Literal, assert_never

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.networks.classifier import Classifier, ClassifierConfig, Kind
from models.pixels import to_model
from models.settings import ClassifierSettings
from models.training.device import Mode
from models.training.learner import Batch, Images, Losses, Row, Schedule, progress
from models.training.microbatches import MicroBatches
from models.training.optimisers import learning_rate, make_optimiser, set_learning_rate
from models.training.random import generator as stream
from models.training.random import seeded

EVALUATION_BATCH = 512
TrainedKind = Literal["classifier", "selfsupervised"]


def make_classifier(settings: ClassifierSettings, kind: Kind, image_channels: int, classes: int) -> Classifier:
    """A network of these settings; its weights are drawn anew for each seed and kind."""
    shape = ClassifierConfig(
        image_channels=image_channels,
        channels=settings.channels,
        features=settings.features,
        classes=classes,
        kind=kind,
    )
    with seeded(settings.seed, f"{kind} weights"):
        return Classifier(shape)


class ClassifierLearner:
    """Tells labels apart, or quarter turns, which need no labels but an eye for shape (Gidaris 2018)."""

    losses = ("cross_entropy",)
    diagnostics = ("probe",)

    def __init__(
        self,
        settings: ClassifierSettings,
        kind: TrainedKind,
        image_channels: int,
        classes: int,
        mode: Mode,
    ) -> None:
        """`classes` is the number of labels; 0 where there are none. Raises ValueError for a classifier of none."""
        if kind == "classifier" and not classes:
            raise ValueError("the data has no labels for a classifier to tell apart; choose selfsupervised")
        self.settings, self.mode, self._kind = settings, mode, kind
        network = make_classifier(settings, kind, image_channels, classes if kind == "classifier" else 4)
        self.classifier, self.config = mode.place_network(network), network.config
        self.networks: dict[str, nn.Module] = {"classifier": self.classifier}
        self.optimisers = {"optimiser": make_optimiser(self.classifier.parameters(), settings.optimiser, mode)}
        self._run = MicroBatches(settings.micro_batch, mode)

    def schedule(self, n_images: int, lr_scale: float) -> Schedule:
        """The learning rate."""
        return Schedule({"rate": lr_scale * learning_rate(self.settings.optimiser, progress(self.settings, n_images))})

    def sample_noise(self, n_images: int, count: int) -> dict[str, Tensor]:
        """`lift` [2, N, 1, 1, 1], uniform: how far, and whether, each image's background is raised."""
        random = stream(self.settings.seed, "lift", n_images, self.mode.device)
        return {"lift": torch.rand(2, count, 1, 1, 1, generator=random, device=self.mode.device)}

    def step(self, batch: Batch, schedule: Schedule) -> Losses:
        """One update on the cross-entropy, in nats, of images with a randomly lifted background."""
        optimiser = self.optimisers["optimiser"]
        set_learning_rate(optimiser, schedule.rates["rate"])
        images, targets = self._task(self._lift(batch.images, batch.random["lift"]), batch.labels)
        with self.mode.cast():
            logits = self._run(self.classifier, images)
        loss = F.cross_entropy(logits.float(), targets)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        return {"cross_entropy": loss.detach()}

    def _lift(self, images: Tensor, lift: Tensor) -> Tensor:
        """x + a (1 - x) with a from U(0, shift), for half of the images: what nobody sees must not count."""
        amount = lift[0] * self.settings.shift * (lift[1] < 0.5)
        return images + amount * (1 - images)

    def _task(self, images: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor]:
        match self._kind:
            case "classifier":
                assert labels is not None
                return images, labels
            case "selfsupervised":
                return _turned(images)
        assert_never(self._kind)

    def probe(self, validation: Images) -> dict[str, float]:
        """`probe`: share of held-out images that are told wrongly."""
        return {"probe": 1 - self.accuracy(validation)}

    def diagnose(self, row: Row, best: float | None) -> str | None:
        """Nothing but what the engine sees itself, losses that are no numbers."""
        return None

    @torch.no_grad()
    def accuracy(self, images: Images) -> float:
        """Share of the images that are told rightly, in eval mode and float32."""
        self.classifier.eval()
        right = 0
        for start in range(0, len(images), EVALUATION_BATCH):
            rows = np.arange(start, min(start + EVALUATION_BATCH, len(images)))
            batch = self.mode.place(to_model(torch.from_numpy(images.gather(rows))))
            labels = None if images.labels is None else torch.from_numpy(images.labels[rows]).to(self.mode.device)
            batch, targets = self._task(batch, labels)
            right += int((self.classifier(batch).argmax(1) == targets).sum())
        self.classifier.train()
        return right / len(images)


def _turned(images: Tensor) -> tuple[Tensor, Tensor]:
    """Images, the first as it is, the next turned by a quarter, and so on; and int64 [N], by how many quarters."""
    resources = torch.arange(len(images), device=images.device) % 4
    turned = torch.empty_like(images)
    for turn in range(4):
        turned[turn::4] = torch.rot90(images[turn::4], turn, (2, 3))
    return turned, resources
