"""The variational auto-encoder as a learner: the evidence lower bound, then a prior fitted to its codes."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from models.device import Mode
from models.ema import Average
from models.learners.base import Images, progress
from models.losses.bound import bernoulli, kl_to_standard_normal, optimal_sigma, summed_mse
from models.optimisers import largest_weight, learning_rate, make_optimiser, set_learning_rate
from models.pixels import to_model, to_unit
from models.prior import FlowPrior, fit_prior
from models.settings import VaeSettings
from models.streams import generator as stream
from models.streams import seeded
from models.vae import Decoder, Encoder, VaeShape, draw_code

EVALUATION_BATCH = 512


class VaeLearner:
    """An encoder and a decoder under one optimiser, their averages, and the prior once it is fitted."""

    def __init__(self, settings: VaeSettings, size: int, image_channels: int, mode: Mode) -> None:
        self.settings, self.mode = settings, mode
        self.shape = VaeShape(
            size=size,
            image_channels=image_channels,
            latent=settings.latent,
            channels=settings.channels,
            network=settings.network,
            output="linear" if settings.reconstruction == "optimal_sigma" else "sigmoid",
            prior_layers=settings.prior_layers if settings.prior == "flow" else 0,
            prior_width=settings.prior_width,
        )
        with seeded(settings.seed, "vae weights"):
            encoder, decoder = Encoder(self.shape), Decoder(self.shape)
        self.encoder, self.decoder = mode.place_network(encoder), mode.place_network(decoder)
        self.average_encoder = Average(self.encoder, settings.ema_half_life)
        self.average_decoder = Average(self.decoder, settings.ema_half_life)
        self.networks: dict[str, nn.Module] = {
            "encoder": self.encoder,
            "decoder": self.decoder,
            "average_encoder": self.average_encoder.network,
            "average_decoder": self.average_decoder.network,
        }
        parameters = [*self.encoder.parameters(), *self.decoder.parameters()]
        self.optimisers = {"optimiser": make_optimiser(parameters, settings.optimiser)}

    def step(self, images: Tensor, labels: Tensor | None, n_images: int) -> dict[str, Tensor]:
        """One update on the negative evidence lower bound: reconstruction + beta KL, in nats per image."""
        done, optimiser = progress(self.settings, n_images), self.optimisers["optimiser"]
        set_learning_rate(optimiser, learning_rate(self.settings.optimiser, done))
        random = stream(self.settings.seed, "vae", n_images)
        noise = torch.randn(len(images), self.settings.latent, generator=random).to(self.mode.device)
        reconstruction, divergence = self._bound(self.encoder, self.decoder, images, noise)
        beta = self.settings.beta * largest_weight(done, self.settings.kl_warmup)
        loss = reconstruction + beta * divergence
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        self.average_encoder.update(self.encoder, n_images, len(images))
        self.average_decoder.update(self.decoder, n_images, len(images))
        return {"reconstruction": reconstruction.detach(), "kl": divergence.detach()}

    def _bound(self, encoder: Encoder, decoder: Decoder, images: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        with self.mode.cast():
            mean, log_variance = encoder(images)
        mean, log_variance = mean.float(), log_variance.float()
        with self.mode.cast():
            raw = decoder(draw_code(mean, log_variance, noise)).float()
        divergence = kl_to_standard_normal(mean, log_variance).sum(1).mean()
        return self._reconstruction(decoder, raw, images), divergence

    def _reconstruction(self, decoder: Decoder, raw: Tensor, images: Tensor) -> Tensor:
        if self.settings.reconstruction == "optimal_sigma":
            return optimal_sigma(raw, images)
        if self.settings.reconstruction == "bernoulli":
            return bernoulli(raw, to_unit(images))
        return summed_mse(to_unit(decoder.to_image(raw)), to_unit(images))

    @torch.no_grad()
    def probe(self, validation: Images) -> float:
        """The negative bound, reconstruction + beta KL, of held-out images under the averaged networks, in nats."""
        total, random = 0.0, stream(self.settings.seed, "vae probe")
        for start in range(0, len(validation), EVALUATION_BATCH):
            rows = np.arange(start, min(start + EVALUATION_BATCH, len(validation)))
            images = self.mode.place(to_model(torch.from_numpy(validation.gather(rows))))
            noise = torch.randn(len(rows), self.settings.latent, generator=random).to(self.mode.device)
            parts = self._bound(self.average_encoder.network, self.average_decoder.network, images, noise)
            total += float(parts[0] + self.settings.beta * parts[1]) * len(rows)
        return total / len(validation)

    def fitted_prior(self, train: Images, seen: Callable[[int, float], None]) -> FlowPrior | None:
        """Fits the flow to the codes of the training images; None where the prior stays N(0, I)."""
        if self.settings.prior == "standard":
            return None
        with seeded(self.settings.seed, "prior weights"):
            prior = FlowPrior(self.settings.latent, self.settings.prior_layers, self.settings.prior_width)
        prior = prior.to(self.mode.device)
        mean, log_variance = self._codes(train)
        fit_prior(prior, mean, log_variance, self.settings.prior_steps, self.settings.seed, seen)
        return prior.eval()

    @torch.no_grad()
    def _codes(self, images: Images) -> tuple[Tensor, Tensor]:
        starts = range(0, len(images), EVALUATION_BATCH)
        rows = (np.arange(start, min(start + EVALUATION_BATCH, len(images))) for start in starts)
        batches = (self.mode.place(to_model(torch.from_numpy(images.gather(part)))) for part in rows)
        codes = [self.average_encoder.network(batch) for batch in batches]
        return torch.cat([mean for mean, _ in codes]), torch.cat([log_variance for _, log_variance in codes])
