"""Augmentations change images as documented, and gradients pass through them."""

from copy import deepcopy

import pytest
import torch
from torch import Tensor

from models.augment import NUMBERS, cut_out, diff_augment, flip, translate
from models.learners.gan import GanLearner, uses_augmentation
from models.losses.adversarial import gradient_penalty
from models.training.device import Mode
from models.training.learner import Batch

IMAGES = torch.rand(6, 3, 16, 16) * 2 - 1
NEUTRAL = torch.tensor([0.5, 0.5, 0.5, 0.5, 0.5, 0.0, 0.0])  # no colour change, no shift, and a cut in a corner


def test_flip_mirrors_images_with_a_number_below_a_half() -> None:
    flipped = flip(IMAGES, torch.tensor([0.1, 0.9, 0.1, 0.9, 0.1, 0.9]))
    assert torch.equal(flipped[::2], IMAGES[::2].flip(3))
    assert torch.equal(flipped[1::2], IMAGES[1::2])


def test_translation_moves_whole_pixels_and_pads_with_0() -> None:
    ends, middle = torch.tensor([0.0] * 3 + [0.999] * 3), torch.full((6,), 0.5)
    assert torch.equal(translate(IMAGES, middle, middle), IMAGES)
    moved = translate(IMAGES, ends, middle)
    assert torch.equal(moved[0, :, :-2], IMAGES[0, :, 2:])  # two pixels up: an eighth of 16
    assert torch.equal(moved[3, :, 2:], IMAGES[3, :, :-2])
    assert moved[0, :, -2:].abs().max() == moved[3, :, :2].abs().max() == 0
    moved = translate(IMAGES, middle, ends)
    assert torch.equal(moved[3, :, :, 2:], IMAGES[3, :, :, :-2])


def test_a_cut_is_a_square_of_half_the_side() -> None:
    cut = cut_out(torch.ones(6, 1, 16, 16), torch.full((6,), 0.5), torch.full((6,), 0.5))
    assert (cut == 0).sum() == 6 * 8 * 8
    assert cut[0, 0, 4:12, 4:12].abs().max() == 0


def test_neutral_numbers_only_cut_out() -> None:
    augmented = diff_augment(IMAGES, NEUTRAL.expand(6, NUMBERS))
    assert torch.allclose(augmented[:, :, 4:, 4:], IMAGES[:, :, 4:, 4:], atol=1e-6)


def test_colour_changes_brightness_saturation_and_contrast() -> None:
    def changed(number: int, value: float) -> torch.Tensor:
        random = NEUTRAL.clone()
        random[number] = value
        return diff_augment(IMAGES, random.expand(6, NUMBERS))[:, :, 4:, 4:]

    kept = IMAGES[:, :, 4:, 4:]
    assert torch.allclose(changed(0, 1.0), kept + 0.5, atol=1e-6)
    assert torch.allclose(changed(1, 0.0), kept.mean(1, keepdim=True).expand_as(kept), atol=1e-6)
    mean = IMAGES.mean((1, 2, 3), keepdim=True)
    assert torch.allclose(changed(2, 1.0), (kept - mean) * 1.5 + mean, atol=1e-6)


def test_gradients_pass_through() -> None:
    images = IMAGES.clone().requires_grad_()
    diff_augment(images, torch.rand(6, NUMBERS)).square().sum().backward()
    assert images.grad is not None
    assert (images.grad != 0).float().mean() > 0.5


@pytest.mark.parametrize(
    ("setting", "count", "expected"),
    [("auto", 19_999, True), ("auto", 20_000, False), ("on", 10**6, True), ("off", 5, False)],
)
def test_small_data_sets_are_augmented(setting: str, count: int, expected: bool) -> None:
    assert uses_augmentation(setting, count) is expected  # type: ignore[arg-type]


def test_gradient_penalties_include_the_augmentation(
    mode: Mode,
    gan_settings,  # type: ignore[no-untyped-def]
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """R1 and R2 are defined at the images before augmentation, which is part of the penalised function."""
    settings = gan_settings(loss="relativistic", discriminator_norm="none", r1=2.0, r2=3.0, penalty_every=1)
    learner, calls = GanLearner(settings, 28, 1, mode, augmented=True), []

    def recording(logits: Tensor, images: Tensor, gamma: float) -> Tensor:
        (gradient,) = torch.autograd.grad(logits.sum(), images, retain_graph=True)
        calls.append((images.detach(), gradient, gamma))
        return gradient_penalty(logits, images, gamma)

    monkeypatch.setattr("models.learners.gan.gradient_penalty", recording)
    real, random = torch.rand(8, 1, 28, 28) * 2 - 1, learner.sample_noise(0, 8)
    before = deepcopy(learner.discriminator)
    learner.step(Batch(real, None, random), learner.schedule(0, 1.0))
    (images, gradient, r1), (_, _, r2) = calls
    assert (r1, r2) == (2.0, 3.0)
    assert torch.equal(images, real)
    images = real.clone().requires_grad_()
    (expected,) = torch.autograd.grad(before(diff_augment(images, random["augment"][0])).sum(), images)
    assert torch.allclose(gradient, expected, atol=1e-6)
