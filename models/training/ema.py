"""Exponential moving average of a network, its buffers included: what ships (Karras 2018; Yazici 2019)."""

from copy import deepcopy
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

Network = TypeVar("Network", bound=nn.Module)
RAMP = 0.05  # early on, half is forgotten within this share of the images seen so far


class ExponentialMovingAverage(Generic[Network]):
    """The average of a network's weights and running statistics, kept in eval mode."""

    def __init__(self, network: Network, half_life: float) -> None:
        """`half_life` counts images; with 0 the average is the network's latest state."""
        self.network = deepcopy(network).eval().requires_grad_(False)
        self._half_life = half_life

    def decay(self, n_images: int, batch: int) -> float:
        """Share of the average that a step of `batch` images, begun at `n_images`, leaves: 2^(-batch / half-life)."""
        half_life = min(self._half_life, RAMP * n_images)
        return 0.0 if half_life == 0 else 0.5 ** (batch / half_life)

    @torch.no_grad()
    def update(self, network: nn.Module, decay: float | Tensor) -> None:
        """Moves the average a towards the network w: a <- w + decay (a - w); with a decay of 0, to w's bits.

        Whole numbers stay as they were copied at the start: nothing counts in them.
        """
        averaged, live = self.network.state_dict(), network.state_dict()
        names = [name for name, value in live.items() if value.is_floating_point()]
        targets, sources = [averaged[name] for name in names], [live[name] for name in names]
        # Three calls for all tensors together; `_foreach_lerp_` would take a decay on the device tensor by tensor.
        torch._foreach_sub_(targets, sources)
        torch._foreach_mul_(targets, decay)
        torch._foreach_add_(targets, sources)
