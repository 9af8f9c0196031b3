"""Exponential moving average (EMA) of a network's weights and buffers (Karras 2018; Yazici 2019)."""

from copy import deepcopy
from typing import Generic

import torch
from torch import Tensor, nn

from models.training.device import Network

RAMP = 0.05  # the half-life is at most this share of the images so far


class ExponentialMovingAverage(Generic[Network]):
    """A copy of a network, in eval mode, whose weights and buffers follow the original's; this is what ships."""

    def __init__(self, network: Network, half_life: float) -> None:
        """`half_life` is in images; with 0 the copy always equals the network."""
        self.network = deepcopy(network).eval().requires_grad_(False)
        self._half_life = half_life

    def decay(self, n_images: int, batch: int) -> float:
        """Returns the decay 2^(-batch / half-life) of a step of `batch` images that starts at `n_images`."""
        half_life = min(self._half_life, RAMP * n_images)
        return 0.0 if half_life == 0 else 0.5 ** (batch / half_life)

    @torch.no_grad()
    def update(self, network: nn.Module, decay: float | Tensor) -> None:
        """Moves the average a towards the weights w: a <- w + decay (a - w), so a decay of 0 copies w exactly.

        Integer buffers keep their initial values; these networks have none that change.
        """
        averaged, live = self.network.state_dict(), network.state_dict()
        names = [name for name, value in live.items() if value.is_floating_point()]
        targets, sources = [averaged[name] for name in names], [live[name] for name in names]
        # Three fused calls for all tensors; `_foreach_lerp_` with a decay on the device runs tensor by tensor.
        torch._foreach_sub_(targets, sources)
        torch._foreach_mul_(targets, decay)
        torch._foreach_add_(targets, sources)
