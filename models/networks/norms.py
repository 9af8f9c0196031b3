"""Batch normalisation and spectral normalisation."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm


class _WithoutBatchCount(nn.modules.batchnorm._BatchNorm):
    """Batch normalisation (Ioffe & Szegedy 2015) without `num_batches_tracked`.

    Only a momentum of None needs that count, and on a GPU it costs a kernel launch per layer and forward pass.
    """

    def forward(self, maps: Tensor) -> Tensor:
        """Normalises float [N, C, ...] by the batch's statistics in training, else by the running ones."""
        assert self.momentum is not None
        return F.batch_norm(
            maps, self.running_mean, self.running_var, self.weight, self.bias, self.training, self.momentum, self.eps
        )


class BatchNorm1d(_WithoutBatchCount, nn.BatchNorm1d):
    """`nn.BatchNorm1d` without a count of batches."""


class BatchNorm2d(_WithoutBatchCount, nn.BatchNorm2d):
    """`nn.BatchNorm2d` without a count of batches."""


class Float32Parametrization(nn.Module):
    """Runs another parametrization of a weight without autocast.

    In bfloat16 the power iteration would know the spectral norm, which divides the weight, to 8 bits only.
    """

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, weight: Tensor) -> Tensor:
        """Maps the original weight to the weight that the layer uses, of the same shape."""
        with torch.autocast(weight.device.type, enabled=False):
            normalised: Tensor = self.inner(weight)
        return normalised


def spectral_norm_float32(layer: nn.Module) -> nn.Module:
    """Divides the layer's weight by its largest singular value (Miyato 2018, eq. 8), always in float32."""
    spectral_norm(layer)
    name = "parametrizations.weight.0"
    layer.set_submodule(name, Float32Parametrization(layer.get_submodule(name)))
    return layer


def original_weight(module: nn.Module) -> Tensor:
    """Returns the trained weight of a layer, with or without a parametrization such as spectral normalisation."""
    parametrizations = getattr(module, "parametrizations", None)
    weight = module.weight if parametrizations is None else parametrizations.weight.original
    assert isinstance(weight, Tensor)
    return weight
