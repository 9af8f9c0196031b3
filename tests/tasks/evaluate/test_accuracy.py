"""The classifier accuracy score of generators that draw what they are told, and of one that draws anything."""

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
    """Images of 16 by 16: dark with a bright stripe, upright or level by the label, wherever it likes."""

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

    __call__ = gather


@dataclass
class Data:
    """Two splits of stripes."""

    train: Stripes
    test: Stripes

    def split(self, name: str) -> Stripes:
        return self.train if name == "train" else self.test

    @property
    def manifest(self) -> Any:
        return type("Manifest", (), {"labels": ["level", "upright"]})


def stripes(seed: int, obedient: bool = True) -> Stripes:
    random = np.random.default_rng(seed)
    labels = random.integers(0, 2, COUNT)
    return Stripes(labels, labels if obedient else random.integers(0, 2, COUNT))


@pytest.mark.parametrize("obedient", [True, False])
def test_only_a_generator_that_obeys_teaches_anything(obedient: bool) -> None:
    data: Any = Data(stripes(0), stripes(1))
    drawing: Any = stripes(2, obedient)
    score, floor = accuracy_scores(drawing, data, PARAMS, torch.device("cpu"))
    assert floor.estimate > 0.95
    assert score.low < score.estimate and score.high - score.low < 0.2
    assert score.estimate > 0.95 if obedient else 0.3 < score.estimate < 0.7
