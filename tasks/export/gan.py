"""The graph of a GAN that ships: its generator."""

from collections.abc import Mapping

from torch import Tensor

from models.networks.gan import GanConfig, Generator
from models.pixels import to_unit
from tasks.common.tensors import select_prefix
from tasks.export.graphs import Graph, out_of_range_if_negative


class GanGraph(Graph):
    """noise [N, L], standard normal, and label [N] where the generator is conditional, to image [N, C, H, W]."""

    input = "noise"

    def __init__(self, generator: Generator) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, noise: Tensor, label: Tensor | None = None) -> Tensor:
        """float [N, L] and int64 [N] to float [N, C, H, W] in [0, 1]."""
        return to_unit(self.generator(noise, None if label is None else out_of_range_if_negative(label)))


def graphs(tensors: Mapping[str, Tensor], config: Mapping[str, object]) -> dict[str, Graph]:
    """Returns the graph by file name, from the weights and the configuration in their header."""
    generator = Generator(GanConfig.model_validate(config))
    generator.load_state_dict(select_prefix(tensors, "generator"))
    return {"gan.onnx": GanGraph(generator)}
