"""A batch in parts has the values and gradients of the whole batch, and needs less memory."""

import copy
import gc
import weakref
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from models.learners.classifier import ClassifierLearner
from models.learners.gan import GanLearner
from models.learners.vae import VaeLearner
from models.networks.classifier import Classifier, ClassifierConfig
from models.networks.gan import Discriminator, GanConfig, Generator
from models.networks.vae import Decoder, Encoder, VaeConfig
from models.settings import GanSettings, VaeSettings
from models.training.device import Mode
from models.training.learner import Learner
from models.training.microbatches import MicroBatches
from models.training.steps import Eager
from tasks.common.params import ReferenceSettings

GAN = GanConfig(size=28, image_channels=1, noise=8, classes=3, channels=4, upsample="transposed")
UNCONDITIONAL = GAN.model_copy(update={"classes": 0})
VAE = VaeConfig(
    size=28,
    image_channels=1,
    latent=4,
    classes=0,
    channels=4,
    network="residual",
    output="linear",
    prior_layers=0,
    prior_width=8,
)
CLASSIFIER = ClassifierConfig(image_channels=1, channels=4, features=8, classes=3, kind="classifier")
NOISE, IMAGES, CODES, LABELS = (10, 8), (10, 1, 28, 28), (10, 4), torch.arange(10) % 3

NETWORKS = {
    "generator": (lambda: Generator(UNCONDITIONAL), NOISE, None),
    "conditional generator": (lambda: Generator(GAN), NOISE, LABELS),
    "batch": (lambda: Discriminator(UNCONDITIONAL, "batch"), IMAGES, None),
    "batch, conditional": (lambda: Discriminator(GAN, "batch"), IMAGES, LABELS),
    "spectral": (lambda: Discriminator(UNCONDITIONAL, "spectral"), IMAGES, None),
    "none": (lambda: Discriminator(UNCONDITIONAL, "none"), IMAGES, None),
    "encoder": (lambda: Encoder(VAE), IMAGES, None),
    "decoder": (lambda: Decoder(VAE), CODES, None),
    "classifier": (lambda: Classifier(CLASSIFIER), IMAGES, None),
}


@pytest.mark.parametrize("micro_batch", [1, 4, 5])
@pytest.mark.parametrize("name", NETWORKS)
def test_values_gradients_and_running_statistics_are_those_of_the_whole(
    mode: Mode, name: str, micro_batch: int
) -> None:
    build, shape, label = NETWORKS[name]
    torch.manual_seed(0)
    network, values = build().double(), torch.randn(*shape, dtype=torch.float64)
    whole = _twice_through(network, lambda net, *inputs: net(*inputs), values, label)
    parts = _twice_through(network, MicroBatches(micro_batch, mode), values, label)
    torch.testing.assert_close(parts, whole, rtol=1e-9, atol=1e-12)


def _twice_through(network: nn.Module, run: Callable[..., Any], values: Tensor, label: Tensor | None) -> list[Tensor]:
    """Returns outputs, gradients and buffers of two forward passes and one backward pass, as in a discriminator."""
    network, values = copy.deepcopy(network), values.clone().requires_grad_()
    labels = () if label is None else (label,)
    outputs = [output for scale in (1.0, 0.5) for output in _tuple(run(network, values * scale, *labels))]
    sum((output.sin() * torch.linspace(-1, 1, output.numel()).view_as(output)).mean() for output in outputs).backward()
    gradients = [parameter.grad for parameter in network.parameters()]
    return [*outputs, values.grad, *gradients, *network.buffers()]  # type: ignore[list-item]


def _tuple(outputs: Any) -> tuple[Tensor, ...]:
    return outputs if isinstance(outputs, tuple) else (outputs,)


LEARNERS: dict[str, Callable[..., Learner]] = {
    "gan": lambda s, mode: GanLearner(GanSettings.model_validate(s), 28, 1, mode, 4, augmented=True),
    "vae": lambda s, mode: VaeLearner(VaeSettings.model_validate(s), 28, 1, mode),
    "classifier": lambda s, mode: ClassifierLearner(ReferenceSettings.model_validate(s), "classifier", 1, 4, mode),
}


@pytest.mark.parametrize(
    ("model", "changes"),
    [
        ("gan", {}),
        ("gan", {"loss": "relativistic", "discriminator_norm": "none", "r1": 1.0, "r2": 1.0, "penalty_every": 1}),
        ("gan", {"loss": "hinge", "discriminator_norm": "spectral", "r1": 1.0, "penalty_every": 1}),
        ("vae", {"reconstruction": "optimal_sigma"}),
        ("classifier", {}),
    ],
)
def test_a_learners_step_is_that_of_the_whole_batch(  # type: ignore[no-untyped-def]
    mode: Mode, gan_settings, vae_settings, classifier_settings, images, model: str, changes: dict[str, object]
) -> None:
    settings = {"gan": gan_settings, "vae": vae_settings, "classifier": classifier_settings}[model](**changes)
    raw, labels = torch.from_numpy(images.gather(range(8))), torch.from_numpy(images.labels[:8])
    after = []
    for micro_batch in (0, 3):
        learner = LEARNERS[model](settings.model_dump() | {"micro_batch": micro_batch}, mode)
        losses = Eager(learner)(raw, labels, 0, 1.0)
        weights = [weight for network in learner.networks.values() for weight in network.parameters()]
        after.append([losses, *(weight.grad for weight in weights if weight.grad is not None)])
    for whole, parts in zip(*after, strict=True):
        assert (whole - parts).norm() <= 1e-3 * whole.norm() + 1e-5


def test_no_activations_inside_a_network_are_kept(mode: Mode) -> None:
    network, values = Discriminator(UNCONDITIONAL, "batch"), torch.randn(64, 1, 28, 28)
    kept = [_saved(lambda run=run: run(network, values)) for run in (MicroBatches(0, mode), MicroBatches(8, mode))]
    assert kept[1] <= values.numel()
    assert kept[0] > 5 * kept[1]


def _saved(run: Callable[[], Tensor]) -> int:
    """Returns how many elements are saved for the backward pass, apart from weights."""
    saved: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: saved.append(tensor) or tensor, lambda tensor: tensor):
        run()
    return sum(tensor.numel() for tensor in saved if not isinstance(tensor, nn.Parameter))


def test_bfloat16_stays_bfloat16(mode: Mode) -> None:
    network, values = Discriminator(UNCONDITIONAL, "batch"), torch.randn(8, 1, 28, 28)
    cast = replace(mode, autocast=torch.bfloat16)
    with cast.cast():
        logits = MicroBatches(3, cast)(network, values)
        expected = copy.deepcopy(network)(values)
    logits.float().mean().backward()
    assert logits.dtype == torch.bfloat16
    torch.testing.assert_close(logits.float(), expected.float(), rtol=0.05, atol=0.05)
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in network.parameters())


def test_a_step_leaves_no_reference_cycles(mode: Mode) -> None:
    """An exception in a local variable would keep all frames of its traceback, and their tensors, alive."""
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Conv2d(2, 1, 3))

    class Marker:
        pass

    def step() -> weakref.ref[Marker]:
        marker = Marker()
        MicroBatches(2, mode)(network, torch.randn(6, 1, 8, 8)).sum().backward()
        return weakref.ref(marker)

    gc.collect()
    gc.disable()
    try:
        assert step()() is None
    finally:
        gc.enable()
