"""The generator against the discriminator (Goodfellow 2014)."""

import numpy as np
import torch
from torch import Tensor, nn

from models.device import Mode
from models.ema import Average
from models.gan import Discriminator, GanShape, Generator
from models.layers import initialise_dcgan
from models.learners.base import Batch, Images, Losses, Row, Schedule, progress, settled
from models.losses.adversarial import discriminator_loss, generator_loss, gradient_penalty
from models.optimisers import learning_rate, make_optimiser, set_learning_rate
from models.pixels import to_model
from models.probe import RandomFeatures, sliced_wasserstein, spread
from models.settings import GanSettings
from models.streams import generator as stream
from models.streams import noise as draw_noise
from models.streams import seeded
from models.watch import collapsed, outplayed

PROBE_IMAGES = 2048


class GanLearner:
    """A DCGAN, its two optimisers and the average of the generator."""

    losses = ("loss_d", "logit_real", "logit_fake", "loss_g")
    signs = ("probe", "diversity")

    def __init__(self, settings: GanSettings, size: int, image_channels: int, mode: Mode) -> None:
        self.settings, self.mode = settings, mode
        self.shape = GanShape(
            size=size,
            image_channels=image_channels,
            noise=settings.noise,
            channels=settings.channels,
            upsample=settings.upsample,
        )
        with seeded(settings.seed, "gan weights"):
            generator, discriminator = Generator(self.shape), Discriminator(self.shape, settings.discriminator_norm)
            initialise_dcgan(generator)
            initialise_dcgan(discriminator)
        self.generator, self.discriminator = mode.place_network(generator), mode.place_network(discriminator)
        self.average = Average(self.generator, settings.ema_half_life)
        self.networks: dict[str, nn.Module] = {
            "generator": self.generator,
            "discriminator": self.discriminator,
            "average": self.average.network,
        }
        self.optimisers = {
            "generator_optimiser": make_optimiser(self.generator.parameters(), settings.generator, mode),
            "discriminator_optimiser": make_optimiser(self.discriminator.parameters(), settings.discriminator, mode),
        }
        self._features = RandomFeatures(image_channels).to(mode.device)

    def schedule(self, n_images: int, slower: float) -> Schedule:
        """Both learning rates, how much of the average a step leaves, and whether it penalises slopes."""
        s, done = self.settings, progress(self.settings, n_images)
        penalised = bool(s.r1 or s.r2) and n_images // s.batch % s.penalty_every == 0
        return Schedule(
            {
                "generator_rate": slower * learning_rate(s.generator, done),
                "discriminator_rate": slower * learning_rate(s.discriminator, done),
                "decay": self.average.decay(n_images, s.batch),
            },
            "penalised" if penalised else "plain",
        )

    def draw(self, n_images: int, count: int) -> dict[str, Tensor]:
        """`noise` [N, L], standard normal."""
        random = stream(self.settings.seed, "gan", n_images, self.mode.device)
        return {"noise": torch.randn(count, self.settings.noise, generator=random, device=self.mode.device)}

    def step(self, batch: Batch, schedule: Schedule) -> Losses:
        """The discriminator's update, the generator's on the same images it drew, then the average."""
        set_learning_rate(self.optimisers["generator_optimiser"], schedule.rates["generator_rate"])
        set_learning_rate(self.optimisers["discriminator_optimiser"], schedule.rates["discriminator_rate"])
        with self.mode.cast():
            fake = self.generator(batch.random["noise"]).float()
        losses = self._discriminate(batch.images, fake.detach(), penalised=schedule.variant == "penalised")
        losses |= self._generate(batch.images, fake)
        self.average.update(self.generator, schedule.rates["decay"])
        return losses

    def _discriminate(self, real: Tensor, fake: Tensor, *, penalised: bool) -> Losses:
        real_logits, fake_logits = self._logits(real), self._logits(fake)
        loss = discriminator_loss(self.settings.loss, real_logits, fake_logits)
        self._update("discriminator_optimiser", loss + self._penalty(real, fake) if penalised else loss)
        losses = {"loss_d": loss, "logit_real": real_logits.mean(), "logit_fake": fake_logits.mean()}
        return {name: value.detach() for name, value in losses.items()}

    def _generate(self, real: Tensor, fake: Tensor) -> Losses:
        self.discriminator.requires_grad_(False)
        real_logits = self._logits(real) if self.settings.loss == "relativistic" else fake.new_zeros(len(fake))
        loss = generator_loss(self.settings.loss, real_logits, self._logits(fake))
        self._update("generator_optimiser", loss)
        self.discriminator.requires_grad_(True)
        return {"loss_g": loss.detach()}

    def _penalty(self, real: Tensor, fake: Tensor) -> Tensor:
        """R1 and R2 in float32, every so many steps and that much stronger (Karras 2020, section 4.1)."""
        s, total = self.settings, real.new_zeros(())
        for images, gamma in ((real, s.r1), (fake, s.r2)):
            if gamma:
                images = images.detach().requires_grad_(True)
                total = total + gradient_penalty(self.discriminator(images), images, gamma * s.penalty_every)
        return total

    def _logits(self, images: Tensor) -> Tensor:
        with self.mode.cast():
            logits: Tensor = self.discriminator(images)
        return logits.float()

    def _update(self, name: str, loss: Tensor) -> None:
        self.optimisers[name].zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimisers[name].step()

    @torch.no_grad()
    def probe(self, validation: Images) -> dict[str, float]:
        """Two figures on a fixed random network's features of held-out images and of images from fixed noise.

        `probe` is their sliced Wasserstein distance; `diversity` the spread of the generated ones' features over that
        of the real ones: about 1, and near 0 when the generator draws one image for ever.
        """
        count = min(len(validation), PROBE_IMAGES)
        images = to_model(torch.from_numpy(validation.gather(np.arange(count))))
        noise = draw_noise(count, self.settings.noise, self.settings.seed, "probe")
        drawn = torch.cat([self.average.network(part.to(self.mode.device)) for part in noise.split(256)])  # type: ignore[no-untyped-call]
        real, fake = self._features(self.mode.place(images)), self._features(drawn)
        return {"probe": sliced_wasserstein(real, fake), "diversity": spread(fake) / spread(real)}

    def alarm(self, row: Row) -> str | None:
        """Mode collapse, seen at every probe; a discriminator that has won, seen at every row."""
        if not settled(self.settings, row["n_images"] or 0):
            return None
        return collapsed(row["diversity"]) or outplayed(row["logit_real"], row["logit_fake"])
