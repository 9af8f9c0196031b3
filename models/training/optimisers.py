"""Optimisers of torch.optim from their settings, and the one schedule they share."""

from collections.abc import Iterable
from typing import assert_never

import torch
from torch import Tensor, nn

from models.settings import OptimiserSettings
from models.training.device import Mode

FLOOR = 0.01  # where the decay ends, as a share of the full rate


def make_optimiser(
    parameters: Iterable[nn.Parameter], settings: OptimiserSettings, mode: Mode
) -> torch.optim.Optimizer:
    """The optimiser that `settings` describe; raises ValueError for a key its method does not have.

    Where steps are captured its learning rate is a tensor and its step counts stay on the device, so that a graph reads
    and writes them.
    """
    rate: float | Tensor = settings.learning_rate
    if mode.captured:
        rate = torch.tensor(settings.learning_rate, device=mode.device)
    decay, momentum = settings.weight_decay, settings.beta1
    match settings.name:
        case "sgd":
            if settings.beta2:
                raise ValueError("sgd has no beta2; set it to 0")
            return torch.optim.SGD(parameters, lr=rate, momentum=momentum, weight_decay=decay, fused=mode.captured)
        case "rmsprop":
            return torch.optim.RMSprop(
                parameters,
                lr=rate,
                momentum=momentum,
                alpha=settings.beta2,
                weight_decay=decay,
                capturable=mode.captured,
            )
        case "adam" | "adamw":
            method = torch.optim.AdamW if settings.name == "adamw" else torch.optim.Adam
            betas = (settings.beta1, settings.beta2)
            return method(parameters, lr=rate, betas=betas, weight_decay=decay, fused=True, capturable=mode.captured)
    assert_never(settings.name)


def learning_rate(settings: OptimiserSettings, progress: float) -> float:
    """The rate when `progress` (0 to 1) of the run is done: full, then linear to 1 % of it."""
    if progress <= settings.decay_start:
        return settings.learning_rate
    left = (1 - min(progress, 1.0)) / (1 - settings.decay_start)
    return settings.learning_rate * max(left, FLOOR)


def set_learning_rate(optimiser: torch.optim.Optimizer, rate: float | Tensor) -> None:
    """Applies `rate` from the next step on."""
    for group in optimiser.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].copy_(rate) if isinstance(rate, Tensor) else group["lr"].fill_(rate)
        else:
            group["lr"] = float(rate)


def linear_warmup(progress: float, warmup: float) -> float:
    """Share of a term that rises linearly from 0 to 1 over the first `warmup` of the run."""
    return 1.0 if progress >= warmup else progress / warmup
