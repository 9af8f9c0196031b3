"""Exponential moving average of a network, its buffers included: what ships (Karras 2018; Yazici 2019)."""

from copy import deepcopy
from typing import Generic, TypeVar

import torch
from torch import nn

Network = TypeVar("Network", bound=nn.Module)
RAMP = 0.05  # early on, half is forgotten within this share of the images seen so far


class Average(Generic[Network]):
    """The average of a network's weights and running statistics, kept in eval mode."""

    def __init__(self, network: Network, half_life: float) -> None:
        """`half_life` counts images; with 0 the average is the network's latest state."""
        self.network = deepcopy(network).eval().requires_grad_(False)
        self._half_life = half_life

    @torch.no_grad()
    def update(self, network: nn.Module, n_images: int, batch: int) -> None:
        """Moves the average towards `network` after a step of `batch` images that began at `n_images`."""
        averaged, live = self.network.state_dict(), network.state_dict()
        floats = [name for name, value in live.items() if value.is_floating_point()]
        torch._foreach_lerp_(
            [averaged[name] for name in floats], [live[name] for name in floats], self._step(n_images, batch)
        )
        for name in live.keys() - set(floats):
            averaged[name].copy_(live[name])

    def _step(self, n_images: int, batch: int) -> float:
        half_life = min(self._half_life, RAMP * n_images)
        return 1.0 if half_life == 0 else 1 - 0.5 ** (batch / half_life)
