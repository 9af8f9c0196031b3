"""The adversarial training of generator and discriminator (Goodfellow 2014)."""

from collections.abc import Sequence
from typing import assert_never

import numpy as np
import torch
from torch import Tensor
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
from models.training.learner import Batch, Images, Losses, Row, Schedule, diagnostics_valid, progress
from models.training.microbatches import MicroBatches, frozen_spectral_norms
from models.training.optimisers import learning_rate, make_optimiser, set_learning_rate
from models.training.probe import EPSILON, RandomFeatures, relative_distance, spread
from models.training.random import generator as stream
from models.training.random import noise as fixed_noise
from models.training.random import seeded

AUGMENT_BELOW = 20_000  # training images; Zhao 2020, tables 2 and 3: it helps much with 10,000, little with 50,000
PROBE_IMAGES, PROBE_BATCH = 2048, 256


def uses_augmentation(setting: Choice, n_training: int) -> bool:
    """Tells whether to use DiffAugment; `auto` uses it for small data sets, which a discriminator would memorise."""
    match setting:
        case "on" | "off":
            return setting == "on"
        case "auto":
            return n_training < AUGMENT_BELOW
    assert_never(setting)


def _augment(images: Tensor, random: Tensor | None) -> Tensor:
    return images if random is None else diff_augment(images, random)


class GanLearner:
    """Generator and discriminator with an optimiser each, and the generator's EMA."""

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
        """`classes` is the number of labels, 0 for an unconditional GAN; `augmented` turns DiffAugment on."""
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
        self.networks = {"generator": self.generator, "discriminator": self.discriminator, "ema": self.ema.network}
        self.optimisers = {
            "generator_optimiser": make_optimiser(self.generator.parameters(), settings.generator, mode),
            "discriminator_optimiser": make_optimiser(self.discriminator.parameters(), settings.discriminator, mode),
        }
        self._run = MicroBatches(settings.micro_batch, mode)
        self._features = RandomFeatures(image_channels).to(mode.device)

    def schedule(self, n_images: int, lr_scale: float) -> Schedule:
        """Returns both learning rates and the EMA's decay; the variant says whether the step has a gradient penalty."""
        s, done = self.settings, progress(self.settings, n_images)
        penalised = bool(s.r1 or s.r2) and n_images // s.batch % s.penalty_every == 0
        rates = {
            "generator_rate": lr_scale * learning_rate(s.generator, done),
            "discriminator_rate": lr_scale * learning_rate(s.discriminator, done),
            "decay": self.ema.decay(n_images, s.batch),
        }
        return Schedule(rates, "penalised" if penalised else "plain")

    def sample_noise(self, n_images: int, count: int) -> dict[str, Tensor]:
        """Returns standard normal `noise` [N, L], uniform `flip` [N], and uniform `augment` [3, N, 7].

        The three rows of `augment` are for real images, for generated images in the discriminator's update, and for the
        same images in the generator's update.
        """
        device, random = self.mode.device, stream(self.settings.seed, "gan", n_images, self.mode.device)
        numbers = {"noise": torch.randn(count, self.settings.noise, generator=random, device=device)}
        if self.settings.flip == "on":
            numbers["flip"] = torch.rand(count, generator=random, device=device)
        if self._augmented:
            numbers["augment"] = torch.rand(3, count, NUMBERS, generator=random, device=device)
        return numbers

    def step(self, batch: Batch, schedule: Schedule) -> Losses:
        """Updates the discriminator, then the generator with the same generated images, then the EMA."""
        set_learning_rate(self.optimisers["generator_optimiser"], schedule.rates["generator_rate"])
        set_learning_rate(self.optimisers["discriminator_optimiser"], schedule.rates["discriminator_rate"])
        label = batch.labels if self.config.classes else None
        real = flip(batch.images, batch.random["flip"]) if "flip" in batch.random else batch.images
        with self.mode.cast():
            fake = self._run(self.generator, batch.random["noise"], label).float()
        augment = list(batch.random["augment"]) if "augment" in batch.random else [None] * 3
        losses = self._update_discriminator(real, fake.detach(), label, augment, schedule.variant == "penalised")
        losses |= self._update_generator(_augment(real, augment[0]), _augment(fake, augment[2]), label)
        self.ema.update(self.generator, schedule.rates["decay"])
        return losses

    def _update_discriminator(
        self, real: Tensor, fake: Tensor, label: Tensor | None, augment: Sequence[Tensor | None], penalised: bool
    ) -> Losses:
        real_logits, fake_logits = self._logits(label, _augment(real, augment[0]), _augment(fake, augment[1]))
        loss = discriminator_loss(self.settings.loss, real_logits, fake_logits)
        self.optimisers["discriminator_optimiser"].zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        if penalised:
            self._penalise(real, label, augment[0], self.settings.r1)
            self._penalise(fake, label, augment[1], self.settings.r2)
        self.optimisers["discriminator_optimiser"].step()
        losses = {"loss_d": loss, "logit_real": real_logits.mean(), "logit_fake": fake_logits.mean()}
        return {name: value.detach() for name, value in losses.items()}

    def _update_generator(self, real: Tensor, fake: Tensor, label: Tensor | None) -> Losses:
        self.discriminator.requires_grad_(False)
        if self.settings.loss == "relativistic":
            fake_logits, real_logits = self._logits(label, fake, real)
        else:
            (fake_logits,) = self._logits(label, fake)
            real_logits = torch.zeros_like(fake_logits)
        loss = generator_loss(self.settings.loss, real_logits, fake_logits)
        self.optimisers["generator_optimiser"].zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimisers["generator_optimiser"].step()
        self.discriminator.requires_grad_(True)
        return {"loss_g": loss.detach()}

    def _penalise(self, images: Tensor, label: Tensor | None, random: Tensor | None, gamma: float) -> None:
        """Adds the parameters' gradients of the penalty on x -> D(T(x)) at the images, computed in float32.

        R1 and R2 are defined at real and at generated images (Mescheder 2018, eq. 9 and 10), so the augmentation T is
        part of the function, as in Karras 2020 (ADA, arXiv 2006.06676) and Huang 2024. The penalty is computed every
        `penalty_every` steps and multiplied by that number (lazy regularisation: Karras 2020, StyleGAN2, section 4.1).
        """
        for part, part_label, part_random in self._run.split(images, label, random) if gamma else ():
            assert part is not None
            part, share = part.detach().requires_grad_(True), len(part) / len(images)
            with frozen_spectral_norms(self.discriminator):
                logits = self.discriminator(_augment(part, part_random), part_label)
            penalty = gradient_penalty(logits, part, gamma * self.settings.penalty_every * share)
            penalty.backward()  # type: ignore[no-untyped-call]

    def _logits(self, label: Tensor | None, *batches: Tensor) -> list[Tensor]:
        """Returns logits float32 [N] of each batch; they share one cast and spectral normalisation of the weights."""
        with self.mode.cast(), cached():
            return [self._run(self.discriminator, images, label).float() for images in batches]

    @torch.no_grad()
    def probe(self, validation: Images) -> dict[str, float]:
        """Compares features (`RandomFeatures`) of held-out images and of images that the EMA generates.

        `probe` is their relative sliced Wasserstein distance. `diversity` is the spread of generated images' features
        over that of real ones: about 1 for a good generator, near 0 after mode collapse. The noise is always the same.
        """
        count = min(len(validation), PROBE_IMAGES)
        images = to_model(torch.from_numpy(validation.gather(np.arange(count))))
        noise = fixed_noise(count, self.settings.noise, self.settings.seed, "probe")
        rows = [np.arange(start, min(start + PROBE_BATCH, count)) for start in range(0, count, PROBE_BATCH)]
        generated = torch.cat([self._generated(noise[part], validation.labels, part) for part in rows])
        real, fake = self._features(self.mode.place(images)), self._features(generated)
        return {"probe": relative_distance(fake, real), "diversity": spread(fake) / max(spread(real), EPSILON)}

    def _generated(self, noise: Tensor, labels: np.ndarray | None, rows: np.ndarray) -> Tensor:
        """Returns the EMA generator's images from noise, with the labels of these rows if it is conditional."""
        device, label = self.mode.device, None
        if self.config.classes:
            assert labels is not None
            label = torch.from_numpy(labels[rows]).to(device)
        images: Tensor = self.ema.network(noise.to(device), label)
        return images

    def diagnose(self, row: Row, best: float | None) -> str | None:
        """Detects mode collapse and a diverged generator at probes, and a dominating discriminator at every row."""
        if not diagnostics_valid(self.settings, row["n_images"] or 0):
            return None
        return (
            mode_collapsed(row["diversity"])
            or discriminator_dominates(row["logit_real"], row["logit_fake"], row["probe"], best)
            or generator_diverged(row["probe"], best)
        )
