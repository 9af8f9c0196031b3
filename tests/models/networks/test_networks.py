"""Networks of every size return the documented shapes and ranges, and pass gradients to every parameter."""

import pytest
import torch
from torch import nn

from models.networks.classifier import Classifier, ClassifierConfig, QuadrantAvgPool2d
from models.networks.gan import Discriminator, GanConfig, Generator
from models.networks.layers import ChannelsLastFlatten, ChannelsLastUnflatten, sides, widths
from models.networks.vae import Decoder, Encoder, VaeConfig, reparametrise, sample

SIZES = [28, 32, 64, 128, 256]


def test_sides_and_widths() -> None:
    assert sides(28) == [4, 7, 14, 28]
    assert sides(64) == [4, 8, 16, 32, 64]
    assert widths(64, 64) == [512, 256, 128, 64]  # Radford 2016, figure 1, without the last layer
    assert max(widths(256, 8)) == 64
    with pytest.raises(ValueError, match="48 pixels"):
        sides(48)


def gradients_reach_all_parameters(network: nn.Module, output: torch.Tensor) -> bool:
    output.square().sum().backward()
    return all(parameter.grad is not None for parameter in network.parameters())


@pytest.mark.parametrize("upsample", ["transposed", "nearest"])
@pytest.mark.parametrize("size", SIZES)
def test_generator(size: int, upsample: str) -> None:
    config = GanConfig(size=size, image_channels=3, noise=5, classes=0, channels=2, upsample=upsample)  # type: ignore[arg-type]
    generator = Generator(config)
    images = generator(torch.randn(2, 5))
    assert images.shape == (2, 3, size, size)
    assert images.abs().max() <= 1
    assert gradients_reach_all_parameters(generator, images)


@pytest.mark.parametrize("norm", ["batch", "spectral", "none"])
@pytest.mark.parametrize("size", SIZES)
def test_discriminator(size: int, norm: str) -> None:
    config = GanConfig(size=size, image_channels=1, noise=5, classes=0, channels=2, upsample="transposed")
    discriminator = Discriminator(config, norm)
    logits = discriminator(torch.randn(2, 1, size, size))
    assert logits.shape == (2,)
    assert gradients_reach_all_parameters(discriminator, logits)


def test_spectral_norm_bounds_every_layer() -> None:
    config = GanConfig(size=28, image_channels=1, noise=5, classes=0, channels=4, upsample="transposed")
    discriminator = Discriminator(config, "spectral")
    for _ in range(100):  # the power iteration converges while training
        discriminator(torch.randn(2, 1, 28, 28))
    layers = [module for module in discriminator.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    norms = [torch.linalg.matrix_norm(layer.weight.flatten(1), 2).item() for layer in layers]
    assert norms == pytest.approx([1.0] * len(layers), abs=0.02)


@pytest.mark.parametrize("network", ["plain", "residual"])
@pytest.mark.parametrize("size", SIZES)
def test_vae(size: int, network: str) -> None:
    config = VaeConfig(
        size=size,
        image_channels=3,
        latent=4,
        classes=0,
        channels=2,
        network=network,  # type: ignore[arg-type]
        output="linear",
        prior_layers=0,
        prior_width=1,
    )
    encoder, decoder = Encoder(config), Decoder(config)
    mean, log_variance = encoder(torch.randn(2, 3, size, size))
    assert mean.shape == log_variance.shape == (2, 4)
    raw = decoder(reparametrise(mean, log_variance, torch.randn(2, 4)))
    assert raw.shape == (2, 3, size, size)
    assert gradients_reach_all_parameters(nn.ModuleList([encoder, decoder]), raw)
    assert sample(decoder, None, torch.randn(2, 4) * 100).abs().max() <= 1


@pytest.mark.parametrize("size", [8, *SIZES])
def test_classifier_accepts_any_size(size: int) -> None:
    config = ClassifierConfig(image_channels=1, channels=2, features=6, classes=3, kind="classifier")
    classifier = Classifier(config)
    images = torch.randn(2, 1, size, size)
    assert classifier.features(images).shape == (2, 6)
    assert classifier(images).shape == (2, 3)


def test_code_is_mean_plus_scaled_noise() -> None:
    mean, log_variance, noise = torch.tensor([[1.0]]), torch.tensor([[2.0]]).log() * 2, torch.tensor([[3.0]])
    assert reparametrise(mean, log_variance, noise).item() == pytest.approx(7.0)


@pytest.mark.parametrize("side", [2, 3, 7, 8, 16])
def test_quadrant_pooling_equals_adaptive_pooling(side: int) -> None:
    maps = torch.randn(2, 3, side, side)
    assert torch.allclose(QuadrantAvgPool2d()(maps), nn.AdaptiveAvgPool2d(2)(maps), atol=1e-6)


def test_flatten_and_unflatten_are_views() -> None:
    vectors = torch.randn(2, 16 * 5)
    maps = ChannelsLastUnflatten(5)(vectors)
    assert maps.shape == (2, 5, 4, 4)
    assert maps.is_contiguous(memory_format=torch.channels_last)
    assert maps.data_ptr() == vectors.data_ptr() == ChannelsLastFlatten()(maps).data_ptr()
    assert torch.equal(ChannelsLastFlatten()(maps), vectors)
    assert torch.equal(ChannelsLastFlatten()(maps.contiguous()), vectors)


def test_a_label_changes_images_and_logits() -> None:
    config = GanConfig(size=28, image_channels=1, noise=5, classes=3, channels=2, upsample="transposed")
    generator, noise = Generator(config).eval(), torch.randn(1, 5).expand(3, 5)
    images = generator(noise, torch.arange(3))
    assert images.shape == (3, 1, 28, 28)
    assert not torch.equal(images[0], images[1])
    assert torch.allclose(generator(noise, torch.tensor([1, 1, 1]))[0], images[1], atol=1e-5)
    for norm in ("batch", "spectral", "none"):
        discriminator = Discriminator(config, norm).eval()
        of_labels = [discriminator(images, torch.full((3,), label)) for label in range(3)]
        assert of_labels[0].shape == (3,)
        assert not torch.equal(of_labels[0], of_labels[1])
    assert gradients_reach_all_parameters(
        discriminator, discriminator(generator(noise, torch.arange(3)), torch.arange(3))
    )
    assert all(parameter.grad is not None for parameter in generator.parameters())
