"""Normalisations of feature maps and of weights."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm


class _Uncounted(nn.modules.batchnorm._BatchNorm):
    """Batch normalisation that does not count batches: only a momentum of None reads the count.

    On a GPU counting costs a kernel a layer and pass (Ioffe & Szegedy 2015 has no such count).
    """

    def forward(self, maps: Tensor) -> Tensor:
        """float [N, C, ...] to the same shape: the batch's statistics in training, the running ones otherwise."""
        assert self.momentum is not None
        return F.batch_norm(
            maps, self.running_mean, self.running_var, self.weight, self.bias, self.training, self.momentum, self.eps
        )


class BatchNorm1d(_Uncounted, nn.BatchNorm1d):
    """`nn.BatchNorm1d` that does not count batches."""


class BatchNorm2d(_Uncounted, nn.BatchNorm2d):
    """`nn.BatchNorm2d` that does not count batches."""


class Float32(nn.Module):
    """Runs a parametrisation of a weight outside of autocast.

    In bfloat16 a power iteration finds the spectral norm to 8 bits alone, and the weight is divided by that.
    """

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, weight: Tensor) -> Tensor:
        """A weight to the weight that the layer uses, of the same shape."""
        with torch.autocast(weight.device.type, enabled=False):
            bounded: Tensor = self.inner(weight)
        return bounded


def spectral(layer: nn.Module) -> nn.Module:
    """The layer with its weight divided by the largest singular value (Miyato 2018, eq. 8)."""
    bounded = spectral_norm(layer)
    parametrisations = bounded.parametrizations
    assert isinstance(parametrisations, nn.ModuleDict)
    steps = parametrisations["weight"]
    assert isinstance(steps, nn.ModuleList)
    steps[0] = Float32(steps[0])
    return bounded


def original_weight(module: nn.Module) -> Tensor:
    """The trained weight of a layer, also where a parametrisation such as the spectral norm stands before it."""
    parametrisations = getattr(module, "parametrizations", None)
    weight = module.weight if parametrisations is None else parametrisations.weight.original
    assert isinstance(weight, Tensor)
    return weight
