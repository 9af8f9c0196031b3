"""The function of the denoiser that ships."""

from collections.abc import Mapping

from torch import Tensor

from models.networks.denoiser import Denoiser, DenoiserConfig
from models.pixels import from_unit, to_unit
from tasks.common.tensors import select_prefix
from tasks.export.graphs import Graph


class DenoiserGraph(Graph):
    """source [N, C, H, W], a noisy image, to image [N, C, H, W]."""

    input = "source"

    def __init__(self, denoiser: Denoiser) -> None:
        super().__init__()
        self.denoiser = denoiser

    def forward(self, source: Tensor) -> Tensor:
        """float [N, C, H, W] in [0, 1] to the same."""
        return to_unit(self.denoiser(from_unit(source)))


def graphs(tensors: Mapping[str, Tensor], config: Mapping[str, object]) -> dict[str, Graph]:
    """Returns the graph by file name, from the weights and the configuration in their header."""
    denoiser = Denoiser(DenoiserConfig.model_validate(config))
    denoiser.load_state_dict(select_prefix(tensors, "denoiser"))
    return {"denoiser.onnx": DenoiserGraph(denoiser)}
