"""Random numbers depend on seed, purpose and n_images; conversions of pixels are inverse to each other."""

import numpy as np
import pytest
import torch

from models.pixels import from_unit, to_bytes, to_model, to_unit
from models.training.random import Sampler, derive_seed, generator, noise


def test_every_byte_survives_the_round_trip() -> None:
    values = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)
    assert torch.equal(to_bytes(to_unit(to_model(values))), values)
    assert to_model(values).min() == -1
    assert to_model(values).max() == 1
    assert torch.allclose(from_unit(to_unit(to_model(values))), to_model(values), atol=1e-6)


def test_bytes_are_clipped_and_rounded() -> None:
    assert to_bytes(torch.tensor([-0.2, 0.5 / 255 + 1e-4, 1.3])).tolist() == [0, 1, 255]


def test_streams_differ_by_seed_purpose_and_position_and_repeat() -> None:
    seeds = {derive_seed(seed, purpose, position) for seed in (0, 1) for purpose in ("a", "b") for position in (0, 64)}
    assert len(seeds) == 8
    assert torch.equal(torch.rand(3, generator=generator(1, "a", 5)), torch.rand(3, generator=generator(1, "a", 5)))
    assert noise(4, 2, 0, "x").shape == (4, 2)


def test_an_epoch_contains_every_image_once() -> None:
    sampler = Sampler(10, seed=3)
    epochs = sampler.batch(0, 30).reshape(3, 10)
    assert (np.sort(epochs, axis=1) == np.arange(10)).all()
    assert not (epochs[0] == epochs[1]).all()


@pytest.mark.parametrize("start", [0, 7, 10, 23])
def test_the_sequence_does_not_depend_on_its_start(start: int) -> None:
    expected = Sampler(10, seed=3).batch(0, 40)
    assert (Sampler(10, seed=3).batch(start, 15) == expected[start : start + 15]).all()
