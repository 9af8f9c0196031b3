"""The graphs of a VAE that ship: the sampler, the encoder and the decoder."""

from collections.abc import Mapping

from torch import Tensor

from models.networks.prior import FlowPrior
from models.networks.vae import Decoder, Encoder, VaeConfig, sample
from models.pixels import from_unit, to_unit
from tasks.common.tensors import select_prefix
from tasks.export.graphs import Graph, out_of_range_if_negative


class VaeGraph(Graph):
    """noise [N, L], standard normal, and label [N] where the prior is conditional, to image [N, C, H, W]."""

    input = "noise"

    def __init__(self, decoder: Decoder, prior: FlowPrior | None) -> None:
        super().__init__()
        self.decoder, self.prior = decoder, prior

    def forward(self, noise: Tensor, label: Tensor | None = None) -> Tensor:
        """float [N, L] and int64 [N] to float [N, C, H, W] in [0, 1]."""
        condition = None if label is None else out_of_range_if_negative(label)
        return to_unit(sample(self.decoder, self.prior, noise, condition))


class DecoderGraph(Graph):
    """latent [N, L], the mean of a code, to image [N, C, H, W]."""

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


def graphs(tensors: Mapping[str, Tensor], config: Mapping[str, object]) -> dict[str, Graph]:
    """Returns the graphs by file name, from the weights and the configuration in their header."""
    shape = VaeConfig.model_validate(config)
    encoder, decoder, prior = Encoder(shape), Decoder(shape), None
    encoder.load_state_dict(select_prefix(tensors, "encoder"))
    decoder.load_state_dict(select_prefix(tensors, "decoder"))
    if shape.prior_layers:
        prior = FlowPrior(shape.latent, shape.prior_layers, shape.prior_width, shape.classes)
        prior.load_state_dict(select_prefix(tensors, "prior"))
    sampler = VaeGraph(decoder, prior)
    return {"vae.onnx": sampler, "encoder.onnx": EncoderGraph(encoder), "decoder.onnx": DecoderGraph(decoder)}
