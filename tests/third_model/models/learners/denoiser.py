"""The denoiser as a learner: mean squared error between the cleaned and the original images."""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.networks.denoiser import Denoiser, DenoiserConfig
from models.pixels import to_model
from models.settings import DenoiserSettings
from models.training.device import Mode
from models.training.learner import Batch, Images, Losses, Row, Schedule, progress
from models.training.optimisers import learning_rate, make_optimiser, set_learning_rate
from models.training.random import generator as stream
from models.training.random import seeded

PROBED = 256


class DenoiserLearner:
    """A network that sees images with Gaussian noise and returns them without."""

    losses, diagnostics = ("mse",), ("probe",)

    def __init__(self, settings: DenoiserSettings, size: int, image_channels: int, mode: Mode) -> None:
        self.settings, self.mode = settings, mode
        self.config = DenoiserConfig(size=size, image_channels=image_channels, channels=settings.channels)
        with seeded(settings.seed, "denoiser weights"):
            self.denoiser = mode.place_network(Denoiser(self.config))
        self.networks: dict[str, nn.Module] = {"denoiser": self.denoiser}
        self.optimisers = {"optimiser": make_optimiser(self.denoiser.parameters(), settings.optimiser, mode)}

    def schedule(self, n_images: int, lr_scale: float) -> Schedule:
        """Returns the learning rate."""
        return Schedule({"rate": lr_scale * learning_rate(self.settings.optimiser, progress(self.settings, n_images))})

    def sample_noise(self, n_images: int, count: int) -> dict[str, Tensor]:
        """Returns standard normal `noise` [N, C, H, W]."""
        shape = (count, self.config.image_channels, self.config.size, self.config.size)
        random = stream(self.settings.seed, "denoiser", n_images, self.mode.device)
        return {"noise": torch.randn(shape, generator=random, device=self.mode.device)}

    def step(self, batch: Batch, schedule: Schedule) -> Losses:
        """Updates the network once on the mean squared error."""
        optimiser = self.optimisers["optimiser"]
        set_learning_rate(optimiser, schedule.rates["rate"])
        noisy = batch.images + self.settings.noise_level * batch.random["noise"]
        loss = F.mse_loss(self.denoiser(noisy), batch.images)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        return {"mse": loss.detach()}

    @torch.no_grad()
    def probe(self, validation: Images) -> dict[str, float]:
        """Returns `probe`, the mean squared error on held-out images."""
        rows = np.arange(min(PROBED, len(validation)))
        images = self.mode.place(to_model(torch.from_numpy(validation.gather(rows))))
        noise = torch.randn(images.shape, generator=stream(self.settings.seed, "denoiser probe")).to(images)
        return {"probe": float(F.mse_loss(self.denoiser(images + self.settings.noise_level * noise), images))}

    def diagnose(self, row: Row, best: float | None) -> str | None:
        """Returns None: the engine itself detects losses that are not finite."""
        return None
