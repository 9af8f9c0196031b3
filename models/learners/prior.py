"""The fit of a VAE's prior, once the auto-encoder is trained: maximum likelihood of the training images' codes."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.networks.prior import FlowPrior
from models.training.device import Mode
from models.training.random import generator
from models.training.state import network_tensors, optimiser_tensors
from models.training.steps import CudaGraphs, FallBack, Record, captured

FIT_BATCH = 1024
REPORT_EVERY = 50  # steps, where steps are captured: asking for the loss waits for the device
RATE = 2e-3


@dataclass(frozen=True)
class Codes:
    """q(z|x) of all training images: mean and log-variance float [N, L], label int64 [N] or None where none is told."""

    mean: Tensor
    log_variance: Tensor
    label: Tensor | None


def fit_prior(
    prior: FlowPrior,
    codes: Codes,
    steps: int,
    seed: int,
    mode: Mode,
    seen: Callable[[int, float], None],
    record: Record | None = None,
    fall_back: FallBack | None = None,
) -> None:
    """Fits the flow to codes drawn from q(z|x); both are on the mode's device.

    Adam at 2e-3 with a cosine to 0; `seen` hears of the codes that were taken since it last did, and of the negative
    log-likelihood of the latest, in nats. Raises CaptureError where the mode captures steps and this one cannot be, or
    tells `fall_back` why and goes on without.
    """
    prior.mean.copy_(codes.mean.mean(0))
    prior.spread.copy_((codes.mean.var(0) + codes.log_variance.exp().mean(0)).sqrt().clamp_min(1e-6))
    fit = _Fit(prior, codes, mode, record or CudaGraphs(), fall_back)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(fit.optimiser, steps)
    told, every = 0, REPORT_EVERY if mode.captured else 1
    for step in range(steps):
        nll = fit.step(generator(seed, "prior", step, mode.device))
        schedule.step()
        if (step + 1) % every == 0 or step + 1 == steps:
            seen((step + 1 - told) * FIT_BATCH, float(nll))
            told = step + 1


class _Fit:
    """One step of the fit, as a CUDA graph where the mode captures steps; what it reads stays where it is."""

    def __init__(self, prior: FlowPrior, codes: Codes, mode: Mode, record: Record, fall_back: FallBack | None) -> None:
        self._prior, self._codes, self._record, self._fall_back = prior, codes, record, fall_back
        rate = torch.tensor(RATE, device=mode.device) if mode.captured else RATE
        self.optimiser = torch.optim.Adam(
            prior.parameters(), lr=rate, fused=mode.captured or None, capturable=mode.captured
        )
        self._rows = torch.zeros(FIT_BATCH, dtype=torch.int64, device=mode.device)
        self._noise = torch.zeros(FIT_BATCH, codes.mean.shape[1], device=mode.device)
        self._graph: Callable[[], Tensor] | None = None if mode.captured else self._take

    def step(self, random: torch.Generator) -> Tensor:
        """Draws codes and takes one step on them; their negative log-likelihood.

        `random` is of the device, so that nothing is copied there.
        """
        torch.randint(len(self._codes.mean), (FIT_BATCH,), generator=random, out=self._rows)
        torch.randn(*self._noise.shape, generator=random, out=self._noise)
        if self._graph is None:
            self._graph = captured(self._take, self._state, self._record, self._fall_back)
        return self._graph()

    def _take(self) -> Tensor:
        rows, label = self._rows, self._codes.label
        drawn = self._codes.mean[rows] + (self._codes.log_variance[rows] / 2).exp() * self._noise
        loss = self._prior.nll(drawn, None if label is None else label[rows])
        self.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self._prior.parameters(), 1.0)
        self.optimiser.step()
        return loss.detach()

    def _state(self) -> dict[str, Tensor]:
        return network_tensors({"prior": self._prior}) | optimiser_tensors({"optimiser": self.optimiser})
