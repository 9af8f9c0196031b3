"""Conversion between the state of networks and optimisers and one flat dictionary of tensors."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn


def network_tensors(networks: Mapping[str, nn.Module]) -> dict[str, Tensor]:
    """Returns weights and buffers as `NETWORK.TENSOR`."""
    return {f"{name}.{key}": value for name, network in networks.items() for key, value in network.state_dict().items()}


def optimiser_tensors(optimisers: Mapping[str, torch.optim.Optimizer]) -> dict[str, Tensor]:
    """Returns moments and step counts as `OPTIMISER.PARAMETER_NUMBER.TENSOR`."""
    return {
        f"{name}.{number}.{key}": value
        for name, optimiser in optimisers.items()
        for number, slots in optimiser.state_dict()["state"].items()
        for key, value in slots.items()
        if isinstance(value, Tensor)
    }


def load_networks(networks: Mapping[str, nn.Module], tensors: Mapping[str, Tensor]) -> None:
    """Loads what `network_tensors` returned; raises RuntimeError where names or shapes differ."""
    for name, network in networks.items():
        network.load_state_dict(_with_prefix(tensors, name))


def load_optimisers(optimisers: Mapping[str, torch.optim.Optimizer], tensors: Mapping[str, Tensor]) -> None:
    """Loads what `optimiser_tensors` returned; hyperparameters stay as they are.

    Moments get the memory format of their parameter, because fused optimisers process both in storage order.
    """
    for name, optimiser in optimisers.items():
        slots: dict[int, dict[str, Tensor]] = {}
        for key, value in _with_prefix(tensors, name).items():
            number, slot = key.split(".", 1)
            slots.setdefault(int(number), {})[slot] = value
        optimiser.load_state_dict({"state": slots, "param_groups": optimiser.state_dict()["param_groups"]})
        for parameter, state in optimiser.state.items():
            for slot, value in state.items():
                if isinstance(value, Tensor) and value.shape == parameter.shape:
                    state[slot] = torch.empty_like(parameter).copy_(value)


def _with_prefix(tensors: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    prefix = f"{name}."
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
