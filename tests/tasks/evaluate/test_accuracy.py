"""The classifier accuracy score of a generator that follows its labels, and of one that ignores them."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch

from tasks.common.params import load_params
from tasks.evaluate.accuracy import accuracy_scores

COUNT = 400
PARAMS = load_params()
PARAMS = PARAMS.model_copy(
    update={
        "evaluate": PARAMS.evaluate.model_copy(update={"n_images": COUNT, "accuracy_epochs": 4}),
        "reference": PARAMS.reference.model_copy(update={"channels": 4, "features": 8, "batch": 40}),
    }
)


@dataclass
class Stripes:
    """Dark images of 16 x 16 with a bright stripe, horizontal or vertical by `shown`."""

    labels: np.ndarray
    shown: np.ndarray
    shape: tuple[int, int, int] = (1, 16, 16)

    def __len__(self) -> int:
        return len(self.labels)

    def gather(self, rows: np.ndarray) -> np.ndarray:
        images = np.zeros((len(rows), 1, 16, 16), np.uint8)
        for image, row in zip(images, rows, strict=True):
            place = int(row) % 14
            image[0, place : place + 2] = 255
            if self.shown[row]:
                image[0] = image[0].T.copy()
        return images


@dataclass
class Data:
    """A data set of two splits."""

    train: Stripes
    test: Stripes

    def split(self, name: str) -> Stripes:
        return self.train if name == "train" else self.test

    @property
    def manifest(self) -> Any:
        return type("Manifest", (), {"labels": ["horizontal", "vertical"]})


def stripes(seed: int, conditional: bool = True) -> Stripes:
    random = np.random.default_rng(seed)
    labels = random.integers(0, 2, COUNT)
    return Stripes(labels, labels if conditional else random.integers(0, 2, COUNT))


@pytest.mark.parametrize("conditional", [True, False])
def test_the_score_is_high_only_if_labels_are_followed(conditional: bool) -> None:
    data: Any = Data(stripes(0), stripes(1))
    generator: Any = stripes(2, conditional)
    score, floor = accuracy_scores(generator, data, PARAMS, torch.device("cpu"))
    assert floor.estimate > 0.95
    assert score.low < score.estimate and score.high - score.low < 0.2
    assert score.estimate > 0.95 if conditional else 0.3 < score.estimate < 0.7
