"""A step in less memory: networks see a batch in parts and come to the values and the gradients of the whole.

Nothing between a network's two ends is kept; the way back runs it again, part by part (checkpointing, Chen 2016, arXiv
1604.06174). Batch normalisation needs the statistics of the whole batch, so these are gathered first, layer after
layer, by running what lies before each; and since they depend on every image, what the loss says of them goes back the
same way, from the last layer to the first. A network with K such layers therefore runs K + 1 times each way, most of
these not to its end.
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
    """Runs networks on at most `images` at a time; 0: on the whole of a batch."""

    def __init__(self, images: int, mode: Mode) -> None:
        self._images, self._mode = images, mode

    def __call__(self, network: nn.Module, *inputs: Tensor | None) -> Any:
        """What `network(*inputs)` gives, up to rounding, with gradients; inputs share their first axis or are None.

        Apart from batch normalisation the network must treat images one by one, and draw no random numbers.
        """
        assert inputs[0] is not None
        if not self._images or len(inputs[0]) <= self._images:
            return network(*inputs)
        parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
        run = _Run(network, parameters, self._images, self._mode)
        return _InParts.apply(run, *inputs, *parameters)

    def parts(self, *tensors: Tensor | None) -> Iterator[Tensors]:
        """The tensors, cut alike along their first axis; None stays None."""
        assert tensors[0] is not None
        return _parts(tensors, self._images or len(tensors[0]))


@contextmanager
def frozen_spectral_norms(network: nn.Module) -> Iterator[None]:
    """Within it spectral norms stay as they are; otherwise they come closer to the truth with every run."""
    found = [module for module in network.modules() if isinstance(module, ParametrizationList) and module.training]
    for module in found:
        module.eval()
    try:
        yield
    finally:
        for module in found:
            module.train()


def _parts(tensors: Tensors, images: int) -> Iterator[Tensors]:
    whole = next(tensor for tensor in tensors if tensor is not None)
    for start in range(0, len(whole), images):
        yield tuple(None if tensor is None else tensor[start : start + images] for tensor in tensors)


@dataclass(frozen=True)
class _Statistics:
    """Mean and variance [C] over `count` places of all images."""

    mean: Tensor
    variance: Tensor
    count: int

    @classmethod
    def of(cls, parts: "Sequence[_Statistics]") -> "_Statistics":
        """Of the whole from those of its parts (Chan 1979)."""
        count = sum(part.count for part in parts)
        mean = sum((part.mean * (part.count / count) for part in parts), torch.zeros_like(parts[0].mean))
        squares = (part.variance + (part.mean - mean) ** 2 for part in parts)
        shares = (square * (part.count / count) for square, part in zip(squares, parts, strict=True))
        return cls(mean, sum(shares, torch.zeros_like(mean)), count)


class _ReachedError(Exception):
    """A run has come to a normalisation whose statistics are not given."""

    def __init__(self, maps: Tensor, running: tuple[Tensor, Tensor], momentum: float) -> None:
        super().__init__()
        self.maps = maps if maps.dtype == torch.float64 else maps.float()
        self.running, self.momentum = running, momentum

    @property
    def _places(self) -> list[int]:
        return [axis for axis in range(self.maps.ndim) if axis != 1]

    def statistics(self) -> _Statistics:
        """Those of this part."""
        variance, mean = torch.var_mean(self.maps, self._places, correction=0)
        return _Statistics(mean, variance, self.maps.numel() // self.maps.shape[1])

    def shares(self, whole: _Statistics) -> tuple[Tensor, Tensor]:
        """What this part adds to the whole's mean and variance; d variance / d mean is 0, so that the mean is fixed."""
        apart = self.maps - whole.mean.view(1, -1, *[1] * (self.maps.ndim - 2))
        return self.maps.sum(self._places) / whole.count, (apart**2).sum(self._places) / whole.count

    @torch.no_grad()
    def keep(self, whole: _Statistics) -> None:
        """Moves the layer's running statistics, as `nn.BatchNorm2d` does."""
        unbiased = whole.variance * (whole.count / (whole.count - 1))
        for running, latest in zip(self.running, (whole.mean, unbiased), strict=True):
            running.lerp_(latest.to(running.dtype), self.momentum)


class _Normalising(TorchFunctionMode):
    """Within it batch normalisation takes the statistics of `given`, in the order in which the layers come."""

    def __init__(self, given: Sequence[_Statistics]) -> None:
        super().__init__()
        self._given = iter(given)

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
        statistics = next(self._given, None)
        if statistics is None:
            raise _ReachedError(maps, (running_mean, running_var), momentum)
        scale = weight * (statistics.variance + eps).rsqrt()
        shape = (1, -1, *[1] * (maps.ndim - 2))
        return ((maps - statistics.mean.view(shape)) * scale.view(shape) + bias.view(shape)).to(maps.dtype)


@dataclass(frozen=True)
class _Run:
    """A network in training, and how many images it may see at a time."""

    network: nn.Module
    parameters: Sequence[nn.Parameter]
    images: int
    mode: Mode

    def forward(self, inputs: Tensors) -> tuple[Any, list[_Statistics]]:
        """The outputs for the whole batch, and the statistics of its normalisations in their order."""
        known: list[_Statistics] = []
        while True:
            outputs, seen = [], list[_Statistics]()
            for part in _parts(inputs, self.images):
                try:
                    with self.mode.cast(), _Normalising(known):
                        outputs.append(self.network(*part))
                except _ReachedError as reached:
                    seen.append(reached.statistics())
                    layer = reached.with_traceback(None)  # which holds all frames above, graphs and tensors included
            if outputs:
                whole = isinstance(outputs[0], Tensor)
                return torch.cat(outputs) if whole else tuple(map(torch.cat, zip(*outputs, strict=True))), known
            known.append(_Statistics.of(seen))
            layer.keep(known[-1])

    def backward(
        self, inputs: Tensors, needed: Sequence[bool], known: list[_Statistics], gradients: Tensors
    ) -> list[Tensor | None]:
        """Gradients of the inputs, None where not needed, and of the parameters, from those of the outputs."""
        of_inputs = [
            torch.zeros_like(value) if value is not None and need else None
            for value, need in zip(inputs, needed, strict=True)
        ]
        of_parameters = [torch.zeros_like(parameter) for parameter in self.parameters]
        of_known = [(torch.zeros_like(layer.mean), torch.zeros_like(layer.variance)) for layer in known]
        ends = len(inputs), 2 * len(inputs)
        for reach in reversed(range(len(known) + 1)):  # the last run of a part goes to its end
            for part in _parts((*inputs, *of_inputs, *gradients), self.images):
                values = [
                    _leaf(value) if value is not None and need else value
                    for value, need in zip(part[: ends[0]], needed, strict=True)
                ]
                given = [_Statistics(_leaf(layer.mean), _leaf(layer.variance), layer.count) for layer in known[:reach]]
                targets = self._run_to(reach, values, given, known)
                weights = part[ends[1] :] if reach == len(known) else of_known[reach]
                wanted = [value for value in values if value is not None and value.requires_grad]
                wanted += [moment for layer in given for moment in (layer.mean, layer.variance)]
                found = torch.autograd.grad(targets, [*wanted, *self.parameters], weights, allow_unused=True)
                totals = [total for total in part[ends[0] : ends[1]] if total is not None]
                totals += [total for layer in of_known[:reach] for total in layer]
                for total, share in zip([*totals, *of_parameters], found, strict=True):
                    if share is not None:
                        total.add_(share)
        return [*of_inputs, *of_parameters]

    @torch.enable_grad()
    def _run_to(
        self, reach: int, values: Sequence[Tensor | None], given: list[_Statistics], known: list[_Statistics]
    ) -> tuple[Tensor, ...]:
        """A part's outputs, or what it adds to the statistics of the first normalisation that is not given its own."""
        try:
            with self.mode.cast(), _Normalising(given):
                outputs = self.network(*values)
        except _ReachedError as reached:
            return reached.shares(known[reach])
        return (outputs,) if isinstance(outputs, Tensor) else outputs


class _InParts(torch.autograd.Function):
    """A network's run over a batch, as one operation."""

    @staticmethod
    def forward(ctx: Any, run: _Run, *tensors: Tensor | None) -> Any:
        inputs = tensors[: len(tensors) - len(run.parameters)]
        with cached():  # one step of the power iteration
            outputs, ctx.known = run.forward(inputs)
        torch.clear_autocast_cache()  # it holds weights without a graph
        ctx.run, ctx.buffers = run, [buffer.clone() for buffer in run.network.buffers()]
        ctx.save_for_backward(*inputs)
        return outputs

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        inputs, latest = ctx.saved_tensors, [buffer.clone() for buffer in ctx.run.network.buffers()]
        _copy(ctx.buffers, ctx.run.network)
        with frozen_spectral_norms(ctx.run.network):
            found = ctx.run.backward(inputs, ctx.needs_input_grad[1 : 1 + len(inputs)], ctx.known, gradients)
        _copy(latest, ctx.run.network)
        return None, *found


def _leaf(tensor: Tensor) -> Tensor:
    return tensor.detach().requires_grad_()


def _copy(values: Sequence[Tensor], network: nn.Module) -> None:
    for buffer, value in zip(network.buffers(), values, strict=True):
        buffer.copy_(value)
