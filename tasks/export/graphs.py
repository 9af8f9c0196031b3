"""The functions that ship: each maps float32 inputs to the float32 outputs of its contract, images in [0, 1].

The graphs of a model are in the module of its name, such as tasks/export/gan.py.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from tasks.common.model_names import MODELS, own_module

LARGEST = 2**31 - 1


class Graph(nn.Module):
    """A function that ships, with the names of its tensors.

    The input is `noise`, with a label or without, `latent`, `image`, or `source` where the output is also an image.
    """

    input: str
    outputs: tuple[str, ...] = ("image",)


def out_of_range_if_negative(label: Tensor) -> Tensor:
    """Returns labels int64 [N] with negative ones made huge: the runtime refuses those but reads -1 as the last."""
    return torch.where(label < 0, LARGEST, label)


def build_graphs(tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> dict[str, Graph]:
    """Returns the graphs of one model by file name, in eval mode, from its weights and their header.

    Raises RuntimeError where the weights do not fit the configuration in the header, ValueError for an unknown model.
    """
    if about["model"] not in MODELS:
        raise ValueError(f"weights of an unknown model: {about['model']}")
    graphs: dict[str, Graph] = own_module("tasks.export", about["model"]).graphs(tensors, about["shape"])
    return {name: graph.eval() for name, graph in graphs.items()}
