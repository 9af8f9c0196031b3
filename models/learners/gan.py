"""The generator against the discriminator (Goodfellow 2014)."""

from collections.abc import Sequence
from typing import assert_never

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import cached

from models.augment import NUMBERS, diff_augment, flip
from models.losses.adversarial import discriminator_loss, generator_loss, gradient_penalty
from models.networks.gan import Discriminator, GanConfig, Generator
from models.networks.layers import initialise_dcgan
from models.pixels import to_model
from models.settings import Choice, GanSettings
from models.training.device import Mode
from models.training.ema import ExponentialMovingAverage
from models.training.health import discriminator_dominates, generator_diverged, mode_collapsed
from models.training.learner import Batch, Images, Losses, Row, Schedule, progress, settled
from models.training.microbatches import MicroBatches, frozen_spectral_norms
from models.training.optimisers import learning_rate, make_optimiser, set_learning_rate
from models.training.probe import LEAST, RandomFeatures, relative_distance, spread
from models.training.random import generator as stream
from models.training.random import noise as draw_noise
from models.training.random import seeded

SMALL = 20_000  # training images; Zhao 2020, tables 2 and 3: much is gained with 10,000, little with 50,000
PROBE_IMAGES, PROBE_BATCH = 2048, 256


def uses_augmentation(asked: Choice, n_training: int) -> bool:
    """Whether DiffAugment stands before the discriminator: by itself where it has few images to learn by heart."""
    match asked:
        case "on":
            return True
        case "auto":
            return n_training < SMALL
        case "off":
            return False
    assert_never(asked)


def seen(images: Tensor, view: Tensor | None) -> Tensor:
    """What the discriminator sees of images [N, C, H, W]: them, or DiffAugment of them by numbers [N, 7]."""
    return images if view is None else diff_augment(images, view)


class GanLearner:
    """A DCGAN, its two optimisers and the average of the generator."""

    losses = ("loss_d", "logit_real", "logit_fake", "loss_g")
    diagnostics = ("probe", "diversity")

    def __init__(
        self,
        settings: GanSettings,
        size: int,
        image_channels: int,
        mode: Mode,
        classes: int = 0,
        augmented: bool = False,
    ) -> None:
        """`classes` is the number of labels that both networks are told, 0 for none; `augmented`: by DiffAugment."""
        self.settings, self.mode, self._augmented = settings, mode, augmented
        self.config = GanConfig(
            size=size,
            image_channels=image_channels,
            noise=settings.noise,
            classes=classes,
            channels=settings.channels,
            upsample=settings.upsample,
        )
        with seeded(settings.seed, "gan weights"):
            generator, discriminator = Generator(self.config), Discriminator(self.config, settings.discriminator_norm)
            initialise_dcgan(generator)
            initialise_dcgan(discriminator)
        self.generator, self.discriminator = mode.place_network(generator), mode.place_network(discriminator)
        self.ema = ExponentialMovingAverage(self.generator, settings.ema_half_life)
        self.networks: dict[str, nn.Module] = {
            "generator": self.generator,
            "discriminator": self.discriminator,
            "ema": self.ema.network,
        }
        self.optimisers = {
            "generator_optimiser": make_optimiser(self.generator.parameters(), settings.generator, mode),
            "discriminator_optimiser": make_optimiser(self.discriminator.parameters(), settings.discriminator, mode),
        }
        self._run = MicroBatches(settings.micro_batch, mode)
        self._features = RandomFeatures(image_channels).to(mode.device)

    def schedule(self, n_images: int, lr_scale: float) -> Schedule:
        """Both learning rates, how much of the average a step leaves, and whether it penalises slopes."""
        s, done = self.settings, progress(self.settings, n_images)
        penalised = bool(s.r1 or s.r2) and n_images // s.batch % s.penalty_every == 0
        return Schedule(
            {
                "generator_rate": lr_scale * learning_rate(s.generator, done),
                "discriminator_rate": lr_scale * learning_rate(s.discriminator, done),
                "decay": self.ema.decay(n_images, s.batch),
            },
            "penalised" if penalised else "plain",
        )

    def sample_noise(self, n_images: int, count: int) -> dict[str, Tensor]:
        """`noise` [N, L], standard normal; uniform `flip` [N], and `augment` [3, N, 7] for the three views of D."""
        device = self.mode.device
        random = stream(self.settings.seed, "gan", n_images, device)
        drawn = {"noise": torch.randn(count, self.settings.noise, generator=random, device=device)}
        if self.settings.flip == "on":
            drawn["flip"] = torch.rand(count, generator=random, device=device)
        if self._augmented:
            drawn["augment"] = torch.rand(3, count, NUMBERS, generator=random, device=device)
        return drawn

    def step(self, batch: Batch, schedule: Schedule) -> Losses:
        """The discriminator's update, the generator's on the same images it drew, then the average."""
        set_learning_rate(self.optimisers["generator_optimiser"], schedule.rates["generator_rate"])
        set_learning_rate(self.optimisers["discriminator_optimiser"], schedule.rates["discriminator_rate"])
        label = batch.labels if self.config.classes else None
        real = flip(batch.images, batch.random["flip"]) if "flip" in batch.random else batch.images
        with self.mode.cast():
            fake = self._run(self.generator, batch.random["noise"], label).float()
        views = list(batch.random["augment"]) if "augment" in batch.random else [None] * 3
        losses = self._discriminate(real, fake.detach(), label, views, penalised=schedule.variant == "penalised")
        losses |= self._generate(seen(real, views[0]), seen(fake, views[2]), label)
        self.ema.update(self.generator, schedule.rates["decay"])
        return losses

    def _discriminate(
        self, real: Tensor, fake: Tensor, label: Tensor | None, views: Sequence[Tensor | None], *, penalised: bool
    ) -> Losses:
        real_logits, fake_logits = self._logits(label, seen(real, views[0]), seen(fake, views[1]))
        loss = discriminator_loss(self.settings.loss, real_logits, fake_logits)
        optimiser = self.optimisers["discriminator_optimiser"]
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        if penalised:
            self._penalise(real, label, views[0], self.settings.r1)
            self._penalise(fake, label, views[1], self.settings.r2)
        optimiser.step()
        losses = {"loss_d": loss, "logit_real": real_logits.mean(), "logit_fake": fake_logits.mean()}
        return {name: value.detach() for name, value in losses.items()}

    def _generate(self, real: Tensor, fake: Tensor, label: Tensor | None) -> Losses:
        self.discriminator.requires_grad_(False)
        paired = self.settings.loss == "relativistic"
        fake_logits, *rest = self._logits(label, fake, *[real] * paired)
        loss = generator_loss(self.settings.loss, rest[0] if paired else torch.zeros_like(fake_logits), fake_logits)
        self.optimisers["generator_optimiser"].zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimisers["generator_optimiser"].step()
        self.discriminator.requires_grad_(True)
        return {"loss_g": loss.detach()}

    def _penalise(self, images: Tensor, label: Tensor | None, view: Tensor | None, gamma: float) -> None:
        """Adds the slope of x -> D(T(x)) at the images, in float32, every so many steps and that much stronger.

        R1 and R2 are defined at real and at generated images (Mescheder 2018, eq. 9 and 10), so where the discriminator
        sees augmented ones, T is part of the function, as in Karras 2020 (ADA, arXiv 2006.06676) and Huang 2024; the
        lazy schedule is that of Karras 2020 (StyleGAN2, section 4.1).
        """
        for part, part_label, numbers in self._run.parts(images, label, view) if gamma else ():
            assert part is not None
            part, share = part.detach().requires_grad_(True), len(part) / len(images)
            with frozen_spectral_norms(self.discriminator):
                logits = self.discriminator(seen(part, numbers), part_label)
            penalty = gradient_penalty(logits, part, gamma * self.settings.penalty_every * share)
            penalty.backward()  # type: ignore[no-untyped-call]

    def _logits(self, label: Tensor | None, *batches: Tensor) -> list[Tensor]:
        """Logits float32 [N] of each batch, from weights that are cast, and divided by their norms, once for all."""
        with self.mode.cast(), cached():
            return [self._run(self.discriminator, images, label).float() for images in batches]

    @torch.no_grad()
    def probe(self, validation: Images) -> dict[str, float]:
        """Two figures on a fixed random network's features of held-out images and of images from fixed noise.

        `probe` is their sliced Wasserstein distance, 1 where one mean point is as good; `diversity` the spread of the
        generated ones' features over that of the real ones: about 1, and near 0 when the generator draws one image for
        ever.
        """
        count = min(len(validation), PROBE_IMAGES)
        images = to_model(torch.from_numpy(validation.gather(np.arange(count))))
        noise = draw_noise(count, self.settings.noise, self.settings.seed, "probe")
        rows = [np.arange(start, min(start + PROBE_BATCH, count)) for start in range(0, count, PROBE_BATCH)]
        drawn = torch.cat([self._drawn(noise[part], validation.labels, part) for part in rows])
        real, fake = self._features(self.mode.place(images)), self._features(drawn)
        return {"probe": relative_distance(fake, real), "diversity": spread(fake) / max(spread(real), LEAST)}

    def _drawn(self, noise: Tensor, labels: np.ndarray | None, rows: np.ndarray) -> Tensor:
        """What the average draws from noise, with the labels of the rows where it is told any."""
        device, label = self.mode.device, None
        if self.config.classes:
            assert labels is not None
            label = torch.from_numpy(labels[rows]).to(device)
        images: Tensor = self.ema.network(noise.to(device), label)
        return images

    def diagnose(self, row: Row, best: float | None) -> str | None:
        """Mode collapse and a generator that fell apart, seen at every probe; a discriminator that has won, always."""
        if not settled(self.settings, row["n_images"] or 0):
            return None
        won = discriminator_dominates(row["logit_real"], row["logit_fake"], row["probe"], best)
        return mode_collapsed(row["diversity"]) or won or generator_diverged(row["probe"], best)
