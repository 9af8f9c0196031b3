"""Networks and losses refuse other shapes and dtypes than they document, with one sentence."""

import re
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from models.losses.adversarial import discriminator_loss, generator_loss, gradient_penalty
from models.losses.elbo import bernoulli, flow_nll, kl_to_standard_normal, optimal_sigma, summed_mse
from models.networks.classifier import Classifier, ClassifierConfig
from models.networks.gan import Discriminator, GanConfig, Generator
from models.networks.pretrained import Dinov2
from models.networks.prior import FlowPrior
from models.networks.vae import Decoder, Encoder, VaeConfig, reparametrise
from models.shapes import check_shape
from models.training.probe import RandomFeatures, sliced_wasserstein
from tests.tasks.reference.blank import dinov2_weights

GAN = GanConfig(size=28, image_channels=1, noise=8, classes=3, channels=2, upsample="transposed")
VAE = VaeConfig(
    size=28,
    image_channels=1,
    latent=4,
    classes=0,
    channels=2,
    network="plain",
    output="linear",
    prior_layers=0,
    prior_width=1,
)
CLASSIFIER = ClassifierConfig(image_channels=1, channels=2, features=6, classes=3, kind="classifier")
NOISE, CODES, LABELS = torch.zeros(2, 8), torch.zeros(2, 4), torch.zeros(2, dtype=torch.int64)
IMAGES, RGB, VECTORS = torch.zeros(2, 1, 28, 28), torch.zeros(2, 3, 28, 28), torch.zeros(2, 28)
LOGITS, COLUMN = torch.zeros(2), torch.zeros(2, 1)

NETWORKS: dict[str, tuple[Callable[[], object], str]] = {
    "generator": (lambda: Generator(GAN)(CODES, LABELS), "noise must be float [N, 8], got float32 [2, 4]"),
    "label": (lambda: Generator(GAN)(NOISE, LOGITS), "label must be int64 [N], got float32 [2]"),
    "no label": (lambda: Generator(GAN)(NOISE), "label must be int64 [N], got None"),
    "discriminator": (
        lambda: Discriminator(GAN, "none")(RGB, LABELS),
        "images must be float [N, 1, 28, 28], got float32 [2, 3, 28, 28]",
    ),
    "encoder": (lambda: Encoder(VAE)(IMAGES.byte()), "images must be float [N, 1, 28, 28], got uint8 [2, 1, 28, 28]"),
    "decoder": (lambda: Decoder(VAE)(NOISE), "codes must be float [N, 4], got float32 [2, 8]"),
    "codes": (lambda: reparametrise(CODES, CODES, NOISE), "noise must be float [2, 4], got float32 [2, 8]"),
    "flow": (lambda: FlowPrior(4, 1, 2)(NOISE), "noise must be float [N, 4], got float32 [2, 8]"),
    "flow's likelihood": (lambda: FlowPrior(4, 1, 2).nll(NOISE), "codes must be float [N, 4], got float32 [2, 8]"),
    "conditional flow": (lambda: FlowPrior(4, 1, 2, 3)(CODES), "label must be int64 [N], got None"),
    "classifier": (
        lambda: Classifier(CLASSIFIER)(RGB),
        "images must be float [N, 1, H, W], got float32 [2, 3, 28, 28]",
    ),
    "random features": (lambda: RandomFeatures(3)(VECTORS), "images must be float [N, 3, H, W], got float32 [2, 28]"),
    "DINOv2": (
        lambda: Dinov2(dinov2_weights()).features(VECTORS),
        "images must be float [N, C, H, W], got float32 [2, 28]",
    ),
}
LOSSES: dict[str, tuple[Callable[[], object], str]] = {
    "discriminator": (
        lambda: discriminator_loss("hinge", LOGITS, COLUMN),
        "generated logits must be float [2], got float32 [2, 1]",
    ),
    "generator": (
        lambda: generator_loss("relativistic", COLUMN, LOGITS),
        "real logits must be float [N], got float32 [2, 1]",
    ),
    "gradient penalty": (lambda: gradient_penalty(COLUMN, IMAGES, 1.0), "logits must be float [2], got float32 [2, 1]"),
    "KL divergence": (
        lambda: kl_to_standard_normal(CODES, NOISE, NOISE.exp()),
        "log-variance must be float [2, 4], got float32 [2, 8]",
    ),
    "flow": (lambda: flow_nll(CODES, COLUMN), "log-determinant must be float [2], got float32 [2, 1]"),
    "sliced Wasserstein": (
        lambda: sliced_wasserstein(NOISE, CODES),
        "the second sample must be float [2, 8], got float32 [2, 4]",
    ),
}


@pytest.mark.parametrize(("call", "sentence"), NETWORKS.values(), ids=NETWORKS)
def test_a_network_names_what_it_expects(call: Callable[[], object], sentence: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        call()


@pytest.mark.parametrize(("call", "sentence"), LOSSES.values(), ids=LOSSES)
def test_a_loss_names_what_it_expects(call: Callable[[], object], sentence: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        call()


@pytest.mark.parametrize("loss", [summed_mse, bernoulli, optimal_sigma])
def test_reconstruction_losses_do_not_broadcast(loss: Callable[[Tensor, Tensor], Tensor]) -> None:
    with pytest.raises(ValueError, match=r"^target must be float \[2, 3, 28, 28\], got float32 \[2, 1, 28, 28\]$"):
        loss(RGB, IMAGES)


def test_any_floating_point_dtype_is_a_float() -> None:
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        check_shape(NOISE.to(dtype), "noise", ("N", 8))


def test_an_exported_network_has_a_dynamic_batch_and_no_check() -> None:
    """The same program serves another batch size, and its operations are those of the layers alone."""

    class Checked(nn.Module):
        def forward(self, noise: Tensor) -> Tensor:
            check_shape(noise, "noise", ("N", 8))
            return noise * 2

    batch = torch.export.Dim("batch")
    program = torch.export.export(Checked(), (NOISE,), dynamic_shapes=({0: batch},))
    assert [node.op for node in program.graph.nodes] == ["placeholder", "call_function", "output"]
    assert program.module()(torch.ones(5, 8)).shape == (5, 8)
