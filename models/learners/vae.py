"""The training of a variational auto-encoder on the evidence lower bound (ELBO), and then of its prior."""

from collections.abc import Callable
from typing import assert_never

import torch
from torch import Tensor, nn

from models.augment import flip
from models.learners.prior import Codes, fit_prior
from models.losses.elbo import bernoulli, kl_to_standard_normal, optimal_sigma, summed_mse
from models.networks.prior import FlowPrior
from models.networks.vae import Decoder, Encoder, VaeConfig, reparametrise
from models.pixels import to_unit
from models.settings import VaeSettings
from models.training.device import Mode
from models.training.ema import ExponentialMovingAverage
from models.training.health import active_units, posterior_collapsed, posterior_diverged
from models.training.learner import Batch, Images, Losses, Row, Schedule, diagnostics_valid, progress
from models.training.loaders import evaluation_batches
from models.training.microbatches import MicroBatches
from models.training.optimisers import learning_rate, linear_warmup, make_optimiser, set_learning_rate
from models.training.random import generator as stream
from models.training.random import seeded
from models.training.steps import FallBack


class VaeLearner:
    """Encoder and decoder with one optimiser, and their EMAs."""

    losses = ("reconstruction", "kl")
    diagnostics = ("probe", "active_units")

    def __init__(self, settings: VaeSettings, size: int, image_channels: int, mode: Mode, classes: int = 0) -> None:
        """`classes` is the number of labels that condition the prior, 0 for an unconditional one."""
        self.settings, self.mode, flow = settings, mode, settings.prior == "flow"
        self.config = VaeConfig(
            size=size,
            image_channels=image_channels,
            latent=settings.latent,
            classes=classes if flow else 0,
            channels=settings.channels,
            network=settings.network,
            output="linear" if settings.reconstruction == "optimal_sigma" else "sigmoid",
            prior_layers=settings.prior_layers if flow else 0,
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
        """Returns the learning rate, the weight of the KL divergence, and the EMA's decay."""
        s, done = self.settings, progress(self.settings, n_images)
        rate, beta = lr_scale * learning_rate(s.optimiser, done), s.beta * linear_warmup(done, s.kl_warmup)
        return Schedule({"rate": rate, "beta": beta, "decay": self.ema_encoder.decay(n_images, s.batch)})

    def sample_noise(self, n_images: int, count: int) -> dict[str, Tensor]:
        """Returns standard normal `noise` [N, L] for the codes, and uniform `flip` [N]."""
        device, random = self.mode.device, stream(self.settings.seed, "vae", n_images, self.mode.device)
        numbers = {"noise": torch.randn(count, self.settings.latent, generator=random, device=device)}
        if self.settings.flip == "on":
            numbers["flip"] = torch.rand(count, generator=random, device=device)
        return numbers

    def step(self, batch: Batch, schedule: Schedule) -> Losses:
        """Updates both networks once on the negative ELBO, reconstruction + beta KL, in nats per image."""
        optimiser = self.optimisers["optimiser"]
        set_learning_rate(optimiser, schedule.rates["rate"])
        images = flip(batch.images, batch.random["flip"]) if "flip" in batch.random else batch.images
        reconstruction, kl = self._elbo_terms(self.encoder, self.decoder, images, batch.random["noise"])
        loss = reconstruction + schedule.rates["beta"] * kl
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        self.ema_encoder.update(self.encoder, schedule.rates["decay"])
        self.ema_decoder.update(self.decoder, schedule.rates["decay"])
        return {"reconstruction": reconstruction.detach(), "kl": kl.detach()}

    def _elbo_terms(self, encoder: Encoder, decoder: Decoder, images: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        with self.mode.cast():
            mean, log_variance = self._run(encoder, images)
        mean, log_variance = mean.float(), log_variance.float()
        with self.mode.cast():
            raw = self._run(decoder, reparametrise(mean, log_variance, noise)).float()
        kl = kl_to_standard_normal(mean, log_variance, log_variance.exp()).sum(1).mean()
        return self._reconstruction(decoder, raw, images), kl

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
        """Evaluates the EMA networks on held-out images.

        `probe` is the negative ELBO, reconstruction + beta KL, in nats per image. `active_units` is the number of code
        dimensions whose mean depends on the image (Burda 2016, section 5.1).
        """
        total, means, random = 0.0, [], stream(self.settings.seed, "vae probe")
        for rows, images in evaluation_batches(validation, self.mode):
            noise = torch.randn(len(rows), self.settings.latent, generator=random).to(self.mode.device)
            reconstruction, kl = self._elbo_terms(self.ema_encoder.network, self.ema_decoder.network, images, noise)
            total += float(reconstruction + self.settings.beta * kl) * len(rows)
            means.append(self.ema_encoder.network(images)[0])
        return {"probe": total / len(validation), "active_units": float(active_units(torch.cat(means)))}

    def diagnose(self, row: Row, best: float | None) -> str | None:
        """Detects a diverged posterior at every row, and posterior collapse at every probe after the KL warm-up."""
        s, n_images = self.settings, int(row["n_images"] or 0)
        problem = posterior_diverged(row["kl"], s.beta * linear_warmup(progress(s, n_images), s.kl_warmup), s.latent)
        if problem or n_images <= s.kl_warmup * s.stop.n_images or not diagnostics_valid(s, n_images):
            return problem
        return posterior_collapsed(row["active_units"], s.latent)

    def fit_prior(
        self, train: Images, on_progress: Callable[[int, float], None], fall_back: FallBack | None = None
    ) -> FlowPrior | None:
        """Returns a flow fitted to the codes of the training images, or None where the prior is N(0, I).

        `on_progress` and `fall_back` are those of `models.learners.prior.fit_prior`.
        """
        s = self.settings
        if s.prior == "standard":
            return None
        with seeded(s.seed, "prior weights"):
            prior = FlowPrior(s.latent, s.prior_layers, s.prior_width, self.config.classes).to(self.mode.device)
        fit_prior(prior, self._codes(train), s.prior_steps, s.seed, self.mode, on_progress, fall_back=fall_back)
        return prior.eval()

    @torch.no_grad()
    def _codes(self, images: Images) -> Codes:
        codes = [self.ema_encoder.network(batch) for _, batch in evaluation_batches(images, self.mode)]
        label = None
        if self.config.classes:
            assert images.labels is not None
            label = torch.from_numpy(images.labels).to(self.mode.device)
        mean, log_variance = map(torch.cat, zip(*codes, strict=True))
        return Codes(mean, log_variance, label)
