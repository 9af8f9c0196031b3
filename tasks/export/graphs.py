"""The functions that ship: each maps float32 inputs to float32 outputs as the contract says, images in [0, 1]."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from models.networks.gan import GanConfig, Generator
from models.networks.prior import FlowPrior
from models.networks.vae import Decoder, Encoder, VaeConfig, sample
from models.pixels import from_unit, to_unit
from tasks.common.tensors import select_prefix

LARGEST = 2**31 - 1


def out_of_range_if_negative(label: Tensor) -> Tensor:
    """Labels int64 [N], negative ones made huge: -1 would be the last label, and this the runtime refuses."""
    return torch.where(label < 0, LARGEST, label)


class Graph(nn.Module):
    """A function that ships; the names of its tensors, of which noise may have a label beside it."""

    input: str
    outputs: tuple[str, ...] = ("image",)


class GanGraph(Graph):
    """noise [N, L], standard normal, and label [N] where it is told one, to image [N, C, H, W]."""

    input = "noise"

    def __init__(self, generator: Generator) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, noise: Tensor, label: Tensor | None = None) -> Tensor:
        """float [N, L] and int64 [N] to float [N, C, H, W] in [0, 1]."""
        return to_unit(self.generator(noise, None if label is None else out_of_range_if_negative(label)))


class VaeGraph(Graph):
    """noise [N, L], standard normal, and label [N] where the prior is told one, to image [N, C, H, W]."""

    input = "noise"

    def __init__(self, decoder: Decoder, prior: FlowPrior | None) -> None:
        super().__init__()
        self.decoder, self.prior = decoder, prior

    def forward(self, noise: Tensor, label: Tensor | None = None) -> Tensor:
        """float [N, L] and int64 [N] to float [N, C, H, W] in [0, 1]."""
        told = None if label is None else out_of_range_if_negative(label)
        return to_unit(sample(self.decoder, self.prior, noise, told))


class DecoderGraph(Graph):
    """latent [N, L], a code as the encoder gives it, to image [N, C, H, W]."""

    input = "latent"

    def __init__(self, decoder: Decoder) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, latent: Tensor) -> Tensor:
        """float [N, L] to float [N, C, H, W] in [0, 1]."""
        return to_unit(self.decoder.to_image(self.decoder(latent)))


class EncoderGraph(Graph):
    """image [N, C, H, W] to mean and log_variance [N, L] of its code."""

    input, outputs = "image", ("mean", "log_variance")

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """float [N, C, H, W] in [0, 1] to two float [N, L]."""
        mean, log_variance = self.encoder(from_unit(image))
        return mean, log_variance


def build_graphs(tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> dict[str, Graph]:
    """The graphs of one model by file name, in eval mode, from its weights and their header.

    Raises RuntimeError where the weights do not fit the shape in the header, ValueError for an unknown model.
    """
    if about["model"] == "gan":
        generator = Generator(GanConfig.model_validate(about["shape"]))
        generator.load_state_dict(select_prefix(tensors, "generator"))
        return {"gan.onnx": GanGraph(generator).eval()}
    if about["model"] != "vae":
        raise ValueError(f"weights of an unknown model: {about['model']}")
    shape = VaeConfig.model_validate(about["shape"])
    encoder, decoder, prior = Encoder(shape), Decoder(shape), None
    encoder.load_state_dict(select_prefix(tensors, "encoder"))
    decoder.load_state_dict(select_prefix(tensors, "decoder"))
    if shape.prior_layers:
        prior = FlowPrior(shape.latent, shape.prior_layers, shape.prior_width, shape.classes)
        prior.load_state_dict(select_prefix(tensors, "prior"))
    graphs = {"vae.onnx": VaeGraph(decoder, prior), "encoder.onnx": EncoderGraph(encoder)}
    return {name: graph.eval() for name, graph in (graphs | {"decoder.onnx": DecoderGraph(decoder)}).items()}
