"""Construction of optimisers from settings, and the schedules."""

from collections.abc import Iterable
from typing import assert_never

import torch
from torch import Tensor, nn

from models.settings import OptimiserSettings
from models.training.device import Mode

MIN_LR_SHARE = 0.01  # of the full learning rate, at the end of the decay


def make_optimiser(
    parameters: Iterable[nn.Parameter], settings: OptimiserSettings, mode: Mode
) -> torch.optim.Optimizer:
    """Returns the optimiser that `settings` describe; raises ValueError for a value that the optimiser lacks.

    In a captured mode the learning rate and the step counts are tensors on the device, so that a CUDA graph can use
    them.
    """
    rate = torch.tensor(settings.learning_rate, device=mode.device) if mode.captured else settings.learning_rate
    decay, momentum = settings.weight_decay, settings.beta1
    match settings.name:
        case "sgd":
            if settings.beta2:
                raise ValueError("sgd has no beta2; set it to 0")
            return torch.optim.SGD(parameters, lr=rate, momentum=momentum, weight_decay=decay, fused=mode.captured)
        case "rmsprop":
            return torch.optim.RMSprop(
                parameters, rate, alpha=settings.beta2, momentum=momentum, weight_decay=decay, capturable=mode.captured
            )
        case "adam" | "adamw":
            adam = torch.optim.AdamW if settings.name == "adamw" else torch.optim.Adam
            betas = settings.beta1, settings.beta2
            return adam(parameters, rate, betas, weight_decay=decay, fused=True, capturable=mode.captured)
    assert_never(settings.name)


def learning_rate(settings: OptimiserSettings, progress: float) -> float:
    """Returns the learning rate at `progress` (0 to 1) of the run: constant, then linear decay to 1 %."""
    if progress <= settings.decay_start:
        return settings.learning_rate
    share = (1 - min(progress, 1.0)) / (1 - settings.decay_start)
    return settings.learning_rate * max(share, MIN_LR_SHARE)


def set_learning_rate(optimiser: torch.optim.Optimizer, rate: float | Tensor) -> None:
    """Sets the learning rate of all parameter groups."""
    for group in optimiser.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].copy_(rate) if isinstance(rate, Tensor) else group["lr"].fill_(rate)
        else:
            group["lr"] = float(rate)


def linear_warmup(progress: float, warmup: float) -> float:
    """Returns a factor that rises linearly from 0 to 1 over the share `warmup` of the run."""
    return 1.0 if progress >= warmup else progress / warmup
