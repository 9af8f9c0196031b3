"""Pretrained networks accept the right weights only, and preprocess images as in their training."""

import io

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

from models.networks.pretrained import PRETRAINED, Dinov2, Inception, PretrainedName
from models.pixels import to_model
from tests.tasks.reference.blank import Weights, dinov2_weights, images, inception_weights

WEIGHTS = {"inception": inception_weights, "dinov2": dinov2_weights}
LENGTHS = {"inception": 2048, "dinov2": 384}
EITHER = pytest.mark.parametrize("name", ["inception", "dinov2"])
pytestmark = pytest.mark.usefixtures("no_network")


@pytest.fixture(scope="module")
def inception() -> Inception:
    return Inception(inception_weights())


@pytest.fixture(scope="module")
def dinov2() -> Dinov2:
    return Dinov2(dinov2_weights()).eval()


@pytest.fixture(params=["inception", "dinov2"])
def network(request: pytest.FixtureRequest) -> Inception | Dinov2:
    network: Inception | Dinov2 = request.getfixturevalue(request.param)
    return network


def as_input(pixels: np.ndarray) -> Tensor:
    return to_model(torch.from_numpy(pixels))


def test_features_have_their_length_and_differ_from_image_to_image(network: Inception | Dinov2) -> None:
    vectors = network.features(as_input(images(3)))
    assert vectors.shape == (3, LENGTHS[network.kind])
    assert vectors.dtype == torch.float32
    assert torch.isfinite(vectors).all()
    gaps = torch.pdist(vectors) / vectors.norm(dim=1).mean()
    assert gaps.min() > 0.01


def test_grey_is_the_rgb_of_equal_channels(network: Inception | Dinov2) -> None:
    grey = images(2)
    rgb = np.repeat(grey, 3, axis=1)
    torch.testing.assert_close(network.features(as_input(grey)), network.features(as_input(rgb)), rtol=1e-5, atol=1e-5)


def test_the_order_of_channels_matters(network: Inception | Dinov2) -> None:
    rgb = images(1, channels=3)
    swapped = network.features(as_input(rgb[:, ::-1].copy()))
    assert (network.features(as_input(rgb)) - swapped).abs().max() > 0.01 * swapped.abs().max()


def test_inception_equals_torch_fidelitys_on_the_same_bytes(inception: Inception) -> None:
    file = io.BytesIO()
    torch.save(inception_weights(), file)
    file.seek(0)
    peer = FeatureExtractorInceptionV3("peer", ["2048"], feature_extractor_weights_path=file)  # type: ignore[no-untyped-call]
    pixels = images(3, channels=3)
    expected = peer(torch.from_numpy(pixels))[0]
    torch.testing.assert_close(inception.features(as_input(pixels)), expected, rtol=1e-5, atol=1e-5)


def test_dinov2_is_timms_class_token_of_the_normalised_image(dinov2: Dinov2) -> None:
    """At 224 pixels nothing is resized: the input is (x / 255 - mean) / deviation per channel."""
    peer = timm.create_model("vit_small_patch14_dinov2", pretrained=False, num_classes=0, img_size=224).eval()
    peer.load_state_dict(dinov2_weights())
    pixels = images(2, channels=3, side=224)
    mean, deviation = np.array([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])[:, :, None, None]
    normalised = torch.from_numpy(((pixels / 255 - mean) / deviation).astype(np.float32))
    assert isinstance(peer, VisionTransformer)
    expected = peer.forward_features(normalised)[:, 0]
    torch.testing.assert_close(dinov2.features(as_input(pixels)), expected, rtol=1e-4, atol=1e-4)


def test_dinov2_resizes_as_pillow_does(dinov2: Dinov2) -> None:
    pixels = images(1)
    large = np.array(Image.fromarray(pixels[0, 0].astype(np.float32)).resize((224, 224), Image.Resampling.BICUBIC))
    mean, deviation = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])[:, :, None, None]
    expected = dinov2.network((torch.from_numpy(large) / 255 - mean)[None] / deviation)
    torch.testing.assert_close(dinov2.features(as_input(pixels)), expected, rtol=1e-4, atol=1e-4)


def test_dinov2_reads_metas_names_and_registers() -> None:
    """Meta's files also have a mask token and, with registers, a position embedding of the class token."""
    timms = dinov2_weights(registers=True)
    position = torch.full((1, 1, 384), 0.25)
    metas = {name: value for name, value in timms.items() if name != "reg_token"} | {
        "mask_token": torch.zeros(1, 384),
        "register_tokens": timms["reg_token"],
        "cls_token": timms["cls_token"] - position,
        "pos_embed": torch.cat([position, timms["pos_embed"]], dim=1),
    }
    pixels = as_input(images(1))
    found, expected = (Dinov2(weights).eval().features(pixels) for weights in (metas, timms))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    plain = Dinov2(dinov2_weights() | {"mask_token": torch.zeros(1, 384)}).eval()
    assert (plain.features(pixels) - expected).abs().max() > 0.01


def test_dinov2_interpolates_position_embeddings() -> None:
    """Meta's and timm's files were trained at 518 pixels: their 37 x 37 positions become 16 x 16."""
    large = dinov2_weights(side=518)
    assert large["pos_embed"].shape[1] == 1 + 37**2
    network = Dinov2(large)
    assert network.network.state_dict()["pos_embed"].shape[1] == 1 + 16**2
    torch.testing.assert_close(network.network.state_dict()["pos_embed"][:, 0], large["pos_embed"][:, 0])


@EITHER
def test_weights_require_no_gradients(name: PretrainedName) -> None:
    assert not any(weight.requires_grad for weight in PRETRAINED[name](WEIGHTS[name]()).parameters())


def incomplete(weights: Weights) -> Weights:
    last = list(weights)[-1]
    return {name: value for name, value in weights.items() if name != last}


def reshaped(weights: Weights) -> Weights:
    last = list(weights)[-1]
    return weights | {last: torch.zeros(3, 3)}


def renamed(weights: Weights) -> Weights:
    return {f"backbone.{name}": value for name, value in weights.items()}


def with_surplus(weights: Weights) -> Weights:
    return weights | {"surplus": torch.zeros(2)}


@EITHER
@pytest.mark.parametrize(
    "change", [incomplete, reshaped, renamed, with_surplus, lambda _: {}], ids=lambda change: change.__name__
)
def test_other_weights_are_refused(name: PretrainedName, change) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match="these are not the weights of"):
        PRETRAINED[name](change(WEIGHTS[name]()))


@pytest.mark.parametrize(
    "weights",
    [
        {"cls_token": torch.tensor(1.0)},
        {"cls_token": torch.zeros(1, 1, 384), "pos_embed": torch.zeros(384)},
        {"cls_token": torch.zeros(1, 1, 384), "model": torch.zeros(2)},
        {"cls_token": torch.zeros(1, 1, 384), "mask_token": torch.zeros(1, 384), "register_tokens": torch.zeros(1)},
    ],
)
def test_incomplete_dinov2_weights_are_refused(weights: Weights) -> None:
    with pytest.raises(ValueError, match="these are not the weights of a DINOv2 network"):
        Dinov2(weights)


@EITHER
def test_weights_of_the_other_network_are_refused(name: PretrainedName) -> None:
    other: PretrainedName = "dinov2" if name == "inception" else "inception"
    with pytest.raises(ValueError, match="these are not the weights of"):
        PRETRAINED[name](WEIGHTS[other]())
