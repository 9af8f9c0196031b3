"""The judge's training: class labels where they exist, quarter turns where they do not."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.classifier import Classifier, ClassifierShape
from models.device import Mode
from models.learners.base import Images, progress
from models.optimisers import learning_rate, make_optimiser, set_learning_rate
from models.pixels import to_model
from models.settings import ClassifierSettings
from models.streams import generator as stream
from models.streams import seeded

EVALUATION_BATCH = 512


class ClassifierLearner:
    """Tells labels apart, or quarter turns, which need no labels but an eye for shape (Gidaris 2018)."""

    def __init__(self, settings: ClassifierSettings, image_channels: int, classes: int, mode: Mode) -> None:
        """`classes` is the number of labels; 0 where there are none. Raises ValueError when labels are asked for."""
        if settings.network == "labels" and not classes:
            raise ValueError("the data has no labels; set reference.network to auto or rotations")
        self.settings, self.mode = settings, mode
        by_labels = bool(classes) and settings.network != "rotations"
        self.shape = ClassifierShape(
            image_channels=image_channels,
            channels=settings.channels,
            features=settings.features,
            classes=classes if by_labels else 4,
            task="labels" if by_labels else "rotations",
        )
        with seeded(settings.seed, "classifier weights"):
            self.classifier = mode.place_network(Classifier(self.shape))
        self.networks: dict[str, nn.Module] = {"classifier": self.classifier}
        self.optimisers = {"optimiser": make_optimiser(self.classifier.parameters(), settings.optimiser)}

    def step(self, images: Tensor, labels: Tensor | None, n_images: int) -> dict[str, Tensor]:
        """One update on the cross-entropy, in nats, of images with a randomly lifted background."""
        optimiser, done = self.optimisers["optimiser"], progress(self.settings, n_images)
        set_learning_rate(optimiser, learning_rate(self.settings.optimiser, done))
        images, targets = self._task(self._lift(images, n_images), labels)
        with self.mode.cast():
            logits = self.classifier(images)
        loss = F.cross_entropy(logits.float(), targets)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        return {"cross_entropy": loss.detach()}

    def _lift(self, images: Tensor, n_images: int) -> Tensor:
        """x + a (1 - x) with a from U(0, shift), for half of the images: what nobody sees must not count."""
        lift = torch.rand(2, len(images), 1, 1, 1, generator=stream(self.settings.seed, "lift", n_images))
        amount = (lift[0] * self.settings.shift * (lift[1] < 0.5)).to(images.device)
        return images + amount * (1 - images)

    def _task(self, images: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor]:
        if self.shape.task == "labels":
            assert labels is not None
            return images, labels
        turns = torch.arange(len(images), device=images.device) % 4
        turned = torch.stack([torch.rot90(image, int(turn), (1, 2)) for image, turn in zip(images, turns, strict=True)])
        return turned.contiguous(memory_format=self.mode.memory_format), turns

    def probe(self, validation: Images) -> float:
        """Share of held-out images that are told wrongly."""
        return 1 - self.accuracy(validation)

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
