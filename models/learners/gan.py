"""The generator against the discriminator (Goodfellow 2014)."""

import numpy as np
import torch
from torch import Tensor, nn

from models.device import Mode
from models.ema import Average
from models.gan import Discriminator, GanShape, Generator
from models.layers import initialise_dcgan
from models.learners.base import Images, progress
from models.losses.adversarial import discriminator_loss, generator_loss, gradient_penalty
from models.optimisers import learning_rate, make_optimiser, set_learning_rate
from models.pixels import to_model
from models.probe import RandomFeatures, sliced_wasserstein
from models.settings import GanSettings
from models.streams import generator as stream
from models.streams import noise as draw_noise
from models.streams import seeded

PROBE_IMAGES = 2048


class GanLearner:
    """A DCGAN, its two optimisers and the average of the generator."""

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
            "generator_optimiser": make_optimiser(self.generator.parameters(), settings.generator),
            "discriminator_optimiser": make_optimiser(self.discriminator.parameters(), settings.discriminator),
        }
        self._features = RandomFeatures(image_channels).to(mode.device)

    def step(self, images: Tensor, labels: Tensor | None, n_images: int) -> dict[str, Tensor]:
        """The discriminator's update, the generator's on the same images it drew, then the average."""
        done = progress(self.settings, n_images)
        set_learning_rate(self.optimisers["generator_optimiser"], learning_rate(self.settings.generator, done))
        set_learning_rate(self.optimisers["discriminator_optimiser"], learning_rate(self.settings.discriminator, done))
        random = stream(self.settings.seed, "gan", n_images)
        noise = torch.randn(len(images), self.settings.noise, generator=random).to(self.mode.device)
        with self.mode.cast():
            fake = self.generator(noise).float()
        losses = self._discriminate(images, fake.detach(), n_images) | self._generate(images, fake)
        self.average.update(self.generator, n_images, len(images))
        return losses

    def _discriminate(self, real: Tensor, fake: Tensor, n_images: int) -> dict[str, Tensor]:
        real_logits, fake_logits = self._logits(real), self._logits(fake)
        loss = discriminator_loss(self.settings.loss, real_logits, fake_logits)
        penalty = self._penalty(real, fake, n_images)
        self._update("discriminator_optimiser", loss if penalty is None else loss + penalty)
        losses = {"loss_d": loss, "logit_real": real_logits.mean(), "logit_fake": fake_logits.mean()}
        return {name: value.detach() for name, value in losses.items()}

    def _generate(self, real: Tensor, fake: Tensor) -> dict[str, Tensor]:
        self.discriminator.requires_grad_(False)
        real_logits = self._logits(real) if self.settings.loss == "relativistic" else fake.new_zeros(len(fake))
        loss = generator_loss(self.settings.loss, real_logits, self._logits(fake))
        self._update("generator_optimiser", loss)
        self.discriminator.requires_grad_(True)
        return {"loss_g": loss.detach()}

    def _penalty(self, real: Tensor, fake: Tensor, n_images: int) -> Tensor | None:
        """R1 and R2 in float32, every so many steps and that much stronger (Karras 2020, section 4.1)."""
        s = self.settings
        if not (s.r1 or s.r2) or n_images // s.batch % s.penalty_every:
            return None
        total = real.new_zeros(())
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
    def probe(self, validation: Images) -> float:
        """Sliced Wasserstein distance between generated and held-out images on a fixed random network's features."""
        count = min(len(validation), PROBE_IMAGES)
        real = to_model(torch.from_numpy(validation.gather(np.arange(count))))
        noise = draw_noise(count, self.settings.noise, self.settings.seed, "probe")
        fake = torch.cat([self.average.network(part.to(self.mode.device)) for part in noise.split(256)])  # type: ignore[no-untyped-call]
        return sliced_wasserstein(self._features(self.mode.place(real)), self._features(fake))
