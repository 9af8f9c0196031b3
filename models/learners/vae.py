"""The variational auto-encoder as a learner: the evidence lower bound, then a prior fitted to its codes."""

from collections.abc import Callable
from typing import assert_never

import numpy as np
import torch
from torch import Tensor, nn

from models.augment import flip
from models.learners.prior import Codes, fit_prior
from models.losses.elbo import bernoulli, kl_to_standard_normal, optimal_sigma, summed_mse
from models.networks.prior import FlowPrior
from models.networks.vae import Decoder, Encoder, VaeConfig, reparametrise
from models.pixels import to_model, to_unit
from models.settings import Prior, VaeSettings
from models.training.device import Mode
from models.training.ema import ExponentialMovingAverage
from models.training.health import active_units, posterior_collapsed, posterior_diverged
from models.training.learner import Batch, Images, Losses, Row, Schedule, progress, settled
from models.training.microbatches import MicroBatches
from models.training.optimisers import learning_rate, linear_warmup, make_optimiser, set_learning_rate
from models.training.random import generator as stream
from models.training.random import seeded
from models.training.steps import FallBack

EVALUATION_BATCH = 512


def has_flow(prior: Prior) -> bool:
    """Whether a flow is fitted to the codes."""
    match prior:
        case "standard":
            return False
        case "flow":
            return True
    assert_never(prior)


class VaeLearner:
    """An encoder and a decoder under one optimiser, their averages, and the prior once it is fitted."""

    losses = ("reconstruction", "kl")
    diagnostics = ("probe", "active_units")

    def __init__(self, settings: VaeSettings, size: int, image_channels: int, mode: Mode, classes: int = 0) -> None:
        """`classes` is the number of labels that the fitted prior is told; 0 for none."""
        self.settings, self.mode = settings, mode
        self.config = VaeConfig(
            size=size,
            image_channels=image_channels,
            latent=settings.latent,
            classes=classes if has_flow(settings.prior) else 0,
            channels=settings.channels,
            network=settings.network,
            output="linear" if settings.reconstruction == "optimal_sigma" else "sigmoid",
            prior_layers=settings.prior_layers if has_flow(settings.prior) else 0,
            prior_width=settings.prior_width,
        )
        with seeded(settings.seed, "vae weights"):
            encoder, decoder = Encoder(self.config), Decoder(self.config)
        self.encoder, self.decoder = mode.place_network(encoder), mode.place_network(decoder)
        self.ema_encoder = ExponentialMovingAverage(self.encoder, settings.ema_half_life)
        self.ema_decoder = ExponentialMovingAverage(self.decoder, settings.ema_half_life)
        self.networks: dict[str, nn.Module] = {
            "encoder": self.encoder,
            "decoder": self.decoder,
            "ema_encoder": self.ema_encoder.network,
            "ema_decoder": self.ema_decoder.network,
        }
        parameters = [*self.encoder.parameters(), *self.decoder.parameters()]
        self.optimisers = {"optimiser": make_optimiser(parameters, settings.optimiser, mode)}
        self._run = MicroBatches(settings.micro_batch, mode)

    def schedule(self, n_images: int, lr_scale: float) -> Schedule:
        """The learning rate, the weight of the divergence, and how much of the averages a step leaves."""
        s, done = self.settings, progress(self.settings, n_images)
        return Schedule(
            {
                "rate": lr_scale * learning_rate(s.optimiser, done),
                "beta": s.beta * linear_warmup(done, s.kl_warmup),
                "decay": self.ema_encoder.decay(n_images, s.batch),
            }
        )

    def sample_noise(self, n_images: int, count: int) -> dict[str, Tensor]:
        """`noise` [N, L], standard normal, for the codes; uniform `flip` [N]."""
        device = self.mode.device
        random = stream(self.settings.seed, "vae", n_images, device)
        drawn = {"noise": torch.randn(count, self.settings.latent, generator=random, device=device)}
        if self.settings.flip == "on":
            drawn["flip"] = torch.rand(count, generator=random, device=device)
        return drawn

    def step(self, batch: Batch, schedule: Schedule) -> Losses:
        """One update on the negative evidence lower bound: reconstruction + beta KL, in nats per image."""
        optimiser = self.optimisers["optimiser"]
        set_learning_rate(optimiser, schedule.rates["rate"])
        images = flip(batch.images, batch.random["flip"]) if "flip" in batch.random else batch.images
        reconstruction, divergence = self._bound(self.encoder, self.decoder, images, batch.random["noise"])
        loss = reconstruction + schedule.rates["beta"] * divergence
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        self.ema_encoder.update(self.encoder, schedule.rates["decay"])
        self.ema_decoder.update(self.decoder, schedule.rates["decay"])
        return {"reconstruction": reconstruction.detach(), "kl": divergence.detach()}

    def _bound(self, encoder: Encoder, decoder: Decoder, images: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        with self.mode.cast():
            mean, log_variance = self._run(encoder, images)
        mean, log_variance = mean.float(), log_variance.float()
        with self.mode.cast():
            raw = self._run(decoder, reparametrise(mean, log_variance, noise)).float()
        divergence = kl_to_standard_normal(mean, log_variance).sum(1).mean()
        return self._reconstruction(decoder, raw, images), divergence

    def _reconstruction(self, decoder: Decoder, raw: Tensor, images: Tensor) -> Tensor:
        match self.settings.reconstruction:
            case "optimal_sigma":
                return optimal_sigma(raw, images)
            case "bernoulli":
                return bernoulli(raw, to_unit(images))
            case "summed_mse":
                return summed_mse(to_unit(decoder.to_image(raw)), to_unit(images))
        assert_never(self.settings.reconstruction)

    @torch.no_grad()
    def probe(self, validation: Images) -> dict[str, float]:
        """The averaged networks on held-out images.

        `probe` is the negative bound, reconstruction + beta KL, in nats per image; `active_units` the number of code
        dimensions whose mean depends on the image (Burda 2016, section 5.1).
        """
        total, means, random = 0.0, [], stream(self.settings.seed, "vae probe")
        for start in range(0, len(validation), EVALUATION_BATCH):
            rows = np.arange(start, min(start + EVALUATION_BATCH, len(validation)))
            images = self.mode.place(to_model(torch.from_numpy(validation.gather(rows))))
            noise = torch.randn(len(rows), self.settings.latent, generator=random).to(self.mode.device)
            parts = self._bound(self.ema_encoder.network, self.ema_decoder.network, images, noise)
            total += float(parts[0] + self.settings.beta * parts[1]) * len(rows)
            means.append(self.ema_encoder.network(images)[0])
        return {"probe": total / len(validation), "active_units": float(active_units(torch.cat(means)))}

    def diagnose(self, row: Row, best: float | None) -> str | None:
        """A posterior that explodes, seen at every row, or that says nothing of the image, seen at every probe.

        The latter counts once the divergence has its full weight.
        """
        s, n_images = self.settings, int(row["n_images"] or 0)
        ill = posterior_diverged(row["kl"], s.beta * linear_warmup(progress(s, n_images), s.kl_warmup), s.latent)
        warm = n_images > s.kl_warmup * s.stop.n_images and settled(s, n_images)
        return ill or (posterior_collapsed(row["active_units"], s.latent) if warm else None)

    def fit_prior(
        self, train: Images, seen: Callable[[int, float], None], fall_back: FallBack | None = None
    ) -> FlowPrior | None:
        """Fits the flow to the codes of the training images; None where the prior stays N(0, I).

        `seen` and `fall_back` are those of `fit_prior`.
        """
        s = self.settings
        if not has_flow(s.prior):
            return None
        with seeded(s.seed, "prior weights"):
            prior = FlowPrior(s.latent, s.prior_layers, s.prior_width, self.config.classes)
        prior = prior.to(self.mode.device)
        fit_prior(prior, self._codes(train), s.prior_steps, s.seed, self.mode, seen, fall_back=fall_back)
        return prior.eval()

    @torch.no_grad()
    def _codes(self, images: Images) -> Codes:
        starts = range(0, len(images), EVALUATION_BATCH)
        rows = (np.arange(start, min(start + EVALUATION_BATCH, len(images))) for start in starts)
        batches = (self.mode.place(to_model(torch.from_numpy(images.gather(part)))) for part in rows)
        codes = [self.ema_encoder.network(batch) for batch in batches]
        label = None
        if self.config.classes:
            assert images.labels is not None
            label = torch.from_numpy(images.labels).to(self.mode.device)
        return Codes(torch.cat([mean for mean, _ in codes]), torch.cat([variance for _, variance in codes]), label)
