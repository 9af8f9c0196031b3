"""Micro-batches: a network processes a batch in parts, with the values and gradients of the whole batch.

Activations inside a network are not kept; the backward pass recomputes them part by part (checkpointing, Chen 2016,
arXiv 1604.06174). Batch normalisation needs the statistics of the whole batch, so the forward pass computes them layer
after layer, by running all parts up to that layer. They depend on every image, so the backward pass propagates their
gradients in the reverse order. A network with K such layers therefore runs K + 1 times in each direction, most of them
only up to a normalisation.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.utils.parametrize import ParametrizationList, cached
from torch.overrides import TorchFunctionMode

from models.training.device import Mode

Tensors = tuple[Tensor | None, ...]


class MicroBatches:
    """Runs networks on at most `size` images at a time, or on the whole batch where `size` is 0."""

    def __init__(self, size: int, mode: Mode) -> None:
        self._size, self._mode = size, mode

    def __call__(self, network: nn.Module, *inputs: Tensor | None) -> Any:
        """Returns `network(*inputs)`, up to rounding, with gradients; inputs share their first axis or are None.

        Apart from batch normalisation the network must process images independently and without random numbers.
        """
        assert inputs[0] is not None
        if not self._size or len(inputs[0]) <= self._size:
            return network(*inputs)
        parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
        checkpointed = _Checkpointed(network, parameters, self._size, self._mode)
        return _CheckpointedFunction.apply(checkpointed, *inputs, *parameters)

    def split(self, *tensors: Tensor | None) -> Iterator[Tensors]:
        """Yields the parts of all tensors along their first axis; None stays None."""
        assert tensors[0] is not None
        return _split(tensors, self._size or len(tensors[0]))


@contextmanager
def frozen_spectral_norms(network: nn.Module) -> Iterator[None]:
    """A context in which spectral norms skip the power iteration that each forward pass otherwise runs."""
    training = [module for module in network.modules() if isinstance(module, ParametrizationList) and module.training]
    for module in training:
        module.eval()
    try:
        yield
    finally:
        for module in training:
            module.train()


def _split(tensors: Tensors, size: int) -> Iterator[Tensors]:
    batch = next(len(tensor) for tensor in tensors if tensor is not None)
    for start in range(0, batch, size):
        yield tuple(None if tensor is None else tensor[start : start + size] for tensor in tensors)


@dataclass(frozen=True)
class _Statistics:
    """Mean and variance [C] over `count` values per channel."""

    mean: Tensor
    variance: Tensor
    count: int

    @classmethod
    def merge(cls, parts: "Sequence[_Statistics]") -> "_Statistics":
        """Merges the statistics of several parts (Chan 1979)."""
        count = sum(part.count for part in parts)
        mean = sum((part.mean * (part.count / count) for part in parts), torch.zeros_like(parts[0].mean))
        squares = (part.variance + (part.mean - mean) ** 2 for part in parts)
        shares = (square * (part.count / count) for square, part in zip(squares, parts, strict=True))
        return cls(mean, sum(shares, torch.zeros_like(mean)), count)


class _BatchNormReached(Exception):  # noqa: N818 - it ends a forward pass early and is no error
    """A forward pass has reached a batch normalisation whose statistics are not known yet."""

    def __init__(self, maps: Tensor, running: tuple[Tensor, Tensor], momentum: float) -> None:
        super().__init__()
        self.maps = maps if maps.dtype == torch.float64 else maps.float()
        self.running, self.momentum = running, momentum
        self._axes = [axis for axis in range(maps.ndim) if axis != 1]

    def statistics(self) -> _Statistics:
        """Returns the statistics of this part."""
        variance, mean = torch.var_mean(self.maps, self._axes, correction=0)
        return _Statistics(mean, variance, self.maps.numel() // self.maps.shape[1])

    def contribution(self, batch: _Statistics) -> tuple[Tensor, Tensor]:
        """Returns this part's terms of the batch's mean and variance.

        The mean inside the variance is a constant, because the derivative of the variance by it is 0.
        """
        centred = self.maps - batch.mean.view(1, -1, *[1] * (self.maps.ndim - 2))
        return self.maps.sum(self._axes) / batch.count, (centred**2).sum(self._axes) / batch.count

    @torch.no_grad()
    def update_running(self, batch: _Statistics) -> None:
        """Updates the layer's running statistics, as `nn.BatchNorm2d` does."""
        unbiased = batch.variance * (batch.count / (batch.count - 1))
        for running, latest in zip(self.running, (batch.mean, unbiased), strict=True):
            running.lerp_(latest.to(running.dtype), self.momentum)


class _FixedBatchNorm(TorchFunctionMode):
    """A context in which the batch normalisations of a network use `statistics`, in the order of the layers."""

    def __init__(self, statistics: Sequence[_Statistics]) -> None:
        super().__init__()
        self._statistics = iter(statistics)

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function is F.batch_norm:
            return self._batch_norm(*args, **(kwargs or {}))
        return function(*args, **(kwargs or {}))

    def _batch_norm(
        self,
        maps: Tensor,
        running_mean: Tensor,
        running_var: Tensor,
        weight: Tensor,
        bias: Tensor,
        training: bool,
        momentum: float,
        eps: float,
    ) -> Tensor:
        if not training:
            return F.batch_norm(maps, running_mean, running_var, weight, bias, False, momentum, eps)
        statistics = next(self._statistics, None)
        if statistics is None:
            raise _BatchNormReached(maps, (running_mean, running_var), momentum)
        scale = weight * (statistics.variance + eps).rsqrt()
        shape = (1, -1, *[1] * (maps.ndim - 2))
        return ((maps - statistics.mean.view(shape)) * scale.view(shape) + bias.view(shape)).to(maps.dtype)


@dataclass(frozen=True)
class _Checkpointed:
    """Forward and backward passes of a network over a batch in parts of `size` images."""

    network: nn.Module
    parameters: Sequence[nn.Parameter]
    size: int
    mode: Mode

    def forward(self, inputs: Tensors) -> tuple[Any, list[_Statistics]]:
        """Returns the outputs for the whole batch, and the statistics of its batch normalisations in order."""
        known: list[_Statistics] = []
        while True:
            outputs, of_parts = [], list[_Statistics]()
            for part in _split(inputs, self.size):
                try:
                    with self.mode.cast(), _FixedBatchNorm(known):
                        outputs.append(self.network(*part))
                except _BatchNormReached as reached:
                    of_parts.append(reached.statistics())
                    layer = reached.with_traceback(None)  # a traceback would keep the part's tensors alive
            if outputs:
                single = isinstance(outputs[0], Tensor)
                return torch.cat(outputs) if single else tuple(map(torch.cat, zip(*outputs, strict=True))), known
            known.append(_Statistics.merge(of_parts))
            layer.update_running(known[-1])

    def backward(
        self, inputs: Tensors, needed: Sequence[bool], known: list[_Statistics], gradients: Tensors
    ) -> list[Tensor | None]:
        """Returns the gradients of the inputs (None where not needed) and parameters from those of the outputs."""
        of_inputs = [
            torch.zeros_like(value) if value is not None and need else None
            for value, need in zip(inputs, needed, strict=True)
        ]
        of_parameters = [torch.zeros_like(parameter) for parameter in self.parameters]
        of_known = [(torch.zeros_like(layer.mean), torch.zeros_like(layer.variance)) for layer in known]
        ends = len(inputs), 2 * len(inputs)
        for depth in reversed(range(len(known) + 1)):  # from the outputs to the first batch normalisation
            for part in _split((*inputs, *of_inputs, *gradients), self.size):
                values = [
                    _leaf(value) if value is not None and need else value
                    for value, need in zip(part[: ends[0]], needed, strict=True)
                ]
                fixed = [_Statistics(_leaf(layer.mean), _leaf(layer.variance), layer.count) for layer in known[:depth]]
                targets = self._run_to(depth, values, fixed, known)
                weights = part[ends[1] :] if depth == len(known) else of_known[depth]
                sources = [value for value in values if value is not None and value.requires_grad]
                sources += [moment for layer in fixed for moment in (layer.mean, layer.variance)]
                found = torch.autograd.grad(targets, [*sources, *self.parameters], weights, allow_unused=True)
                totals = [total for total in part[ends[0] : ends[1]] if total is not None]
                totals += [total for layer in of_known[:depth] for total in layer]
                for total, gradient in zip([*totals, *of_parameters], found, strict=True):
                    if gradient is not None:
                        total.add_(gradient)
        return [*of_inputs, *of_parameters]

    @torch.enable_grad()
    def _run_to(
        self, depth: int, values: Sequence[Tensor | None], fixed: list[_Statistics], known: list[_Statistics]
    ) -> tuple[Tensor, ...]:
        """Returns a part's outputs, or its terms of the first statistics that are not fixed."""
        try:
            with self.mode.cast(), _FixedBatchNorm(fixed):
                outputs = self.network(*values)
        except _BatchNormReached as reached:
            return reached.contribution(known[depth])
        return (outputs,) if isinstance(outputs, Tensor) else outputs


class _CheckpointedFunction(torch.autograd.Function):
    """The passes of `_Checkpointed` as one operation for autograd."""

    @staticmethod
    def forward(ctx: Any, checkpointed: _Checkpointed, *tensors: Tensor | None) -> Any:
        inputs = tensors[: len(tensors) - len(checkpointed.parameters)]
        with cached():  # one power iteration for all parts
            outputs, ctx.known = checkpointed.forward(inputs)
        torch.clear_autocast_cache()  # it holds casts of the weights without a graph
        ctx.checkpointed = checkpointed
        ctx.buffers = [buffer.clone() for buffer in checkpointed.network.buffers()]
        ctx.save_for_backward(*inputs)
        return outputs

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        inputs, network = ctx.saved_tensors, ctx.checkpointed.network
        latest = [buffer.clone() for buffer in network.buffers()]
        _set_buffers(network, ctx.buffers)
        with frozen_spectral_norms(network):
            needed = ctx.needs_input_grad[1 : 1 + len(inputs)]
            found = ctx.checkpointed.backward(inputs, needed, ctx.known, gradients)
        _set_buffers(network, latest)
        return None, *found


def _leaf(tensor: Tensor) -> Tensor:
    return tensor.detach().requires_grad_()


def _set_buffers(network: nn.Module, values: Sequence[Tensor]) -> None:
    for buffer, value in zip(network.buffers(), values, strict=True):
        buffer.copy_(value)
