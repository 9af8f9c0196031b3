"""Maximum-likelihood training of a VAE's prior on the codes of the training images."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.networks.prior import FlowPrior
from models.networks.vae import reparametrise
from models.training.device import Mode
from models.training.random import generator
from models.training.state import network_tensors, optimiser_tensors
from models.training.steps import CudaGraphs, FallBack, Recorder, capture

FIT_BATCH = 1024
REPORT_EVERY = 50  # steps, where steps are captured: reading the loss waits for the device
LEARNING_RATE = 2e-3


@dataclass(frozen=True)
class Codes:
    """q(z|x) of all training images: mean and log-variance float [N, L], and labels int64 [N] or None."""

    mean: Tensor
    log_variance: Tensor
    label: Tensor | None


def fit_prior(
    prior: FlowPrior,
    codes: Codes,
    steps: int,
    seed: int,
    mode: Mode,
    on_progress: Callable[[int, float], None],
    recorder: Recorder | None = None,
    fall_back: FallBack | None = None,
) -> None:
    """Fits the flow to samples of q(z|x) with Adam and a cosine schedule; prior and codes are on the mode's device.

    `on_progress` receives the number of codes since its last call and the latest negative log-likelihood in nats.
    Raises CaptureError where the mode captures steps and that fails; with `fall_back`, it calls that with the cause and
    runs eagerly.
    """
    prior.mean.copy_(codes.mean.mean(0))
    prior.spread.copy_((codes.mean.var(0) + codes.log_variance.exp().mean(0)).sqrt().clamp_min(1e-6))
    fit = _Fit(prior, codes, mode)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(fit.optimiser, steps)
    update, reported, every = fit.update, 0, REPORT_EVERY if mode.captured else 1
    for step in range(steps):
        fit.sample(generator(seed, "prior", step, mode.device))
        if mode.captured and step == 0:
            update = capture(fit.update, fit.state, recorder or CudaGraphs(), fall_back)
        nll = update()
        schedule.step()
        if (step + 1) % every == 0 or step + 1 == steps:
            on_progress((step + 1 - reported) * FIT_BATCH, float(nll))
            reported = step + 1


class _Fit:
    """The operations of a step, on buffers that stay the same, as a CUDA graph requires."""

    def __init__(self, prior: FlowPrior, codes: Codes, mode: Mode) -> None:
        self._prior, self._codes = prior, codes
        rate = torch.tensor(LEARNING_RATE, device=mode.device) if mode.captured else LEARNING_RATE
        self.optimiser = torch.optim.Adam(
            prior.parameters(), lr=rate, fused=mode.captured or None, capturable=mode.captured
        )
        self._rows = torch.zeros(FIT_BATCH, dtype=torch.int64, device=mode.device)
        self._noise = torch.zeros(FIT_BATCH, codes.mean.shape[1], device=mode.device)

    def sample(self, random: torch.Generator) -> None:
        """Samples rows and noise with a generator on the device, so that nothing is copied there."""
        torch.randint(len(self._codes.mean), (FIT_BATCH,), generator=random, out=self._rows)
        torch.randn(*self._noise.shape, generator=random, out=self._noise)

    def update(self) -> Tensor:
        """Updates the flow once and returns the negative log-likelihood."""
        rows, label = self._rows, self._codes.label
        codes = reparametrise(self._codes.mean[rows], self._codes.log_variance[rows], self._noise)
        loss = self._prior.nll(codes, None if label is None else label[rows])
        self.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self._prior.parameters(), 1.0)
        self.optimiser.step()
        return loss.detach()

    def state(self) -> dict[str, Tensor]:
        """Returns the tensors that `update` changes."""
        return network_tensors({"prior": self._prior}) | optimiser_tensors({"optimiser": self.optimiser})
