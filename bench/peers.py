"""The peers: the training loops of pytorch/examples' `dcgan` and `vae`, rewritten with our networks.

They use a DataLoader whose workers convert images one by one, float32, Adam with its defaults, separate BatchNorm
statistics for real and generated images, and losses read with `.item()` at every step.
"""

from collections.abc import Iterator
from itertools import count

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from models.losses.elbo import kl_to_standard_normal
from models.networks.gan import Discriminator, GanConfig, Generator
from models.networks.layers import initialise_dcgan
from models.networks.vae import Decoder, Encoder, VaeConfig, reparametrise


class Pictures(Dataset[Tensor]):
    """28x28 images in memory, converted to tensors one by one, as torchvision's data sets do."""

    def __init__(self, pictures: np.ndarray, side: int) -> None:
        self.pictures = pictures
        steps = [transforms.Resize(side), transforms.ToTensor(), transforms.Normalize((0.5,), (0.5,))]
        self.transform = transforms.Compose(steps)

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> Tensor:
        image: Tensor = self.transform(Image.fromarray(self.pictures[index]))
        return image


def batches(pictures: np.ndarray, side: int, batch: int, device: torch.device, workers: int) -> Iterator[Tensor]:
    """Yields batches float32 [N, 1, H, W] in [-1, 1] on the device, epoch after epoch."""
    loader = DataLoader(
        Pictures(pictures, side),
        batch_size=batch,
        shuffle=True,
        drop_last=True,
        num_workers=workers,
        persistent_workers=workers > 0,
    )
    return (images.to(device) for _ in count() for images in loader)


def train_gan(images: Iterator[Tensor], shape: GanConfig, device: torch.device) -> Iterator[None]:
    """Runs one step of pytorch/examples/dcgan per iteration."""
    generator, discriminator = Generator(shape).to(device), Discriminator(shape, "batch").to(device)
    for network in (generator, discriminator):
        initialise_dcgan(network)
    updates = [torch.optim.Adam(net.parameters(), lr=2e-4, betas=(0.5, 0.999)) for net in (generator, discriminator)]
    criterion = nn.BCEWithLogitsLoss()
    for real in images:
        ones = torch.ones(len(real), device=device)
        discriminator.zero_grad()
        logits = discriminator(real)
        loss_real = criterion(logits, ones)
        loss_real.backward()
        logged = [logits.mean().item()]
        fake = generator(torch.randn(len(real), shape.noise, device=device))
        logits = discriminator(fake.detach())
        loss_fake = criterion(logits, torch.zeros_like(ones))
        loss_fake.backward()
        logged.append(logits.mean().item())
        updates[1].step()
        generator.zero_grad()
        logits = discriminator(fake)
        loss = criterion(logits, ones)
        loss.backward()
        logged += [logits.mean().item(), (loss_real + loss_fake).item(), loss.item()]
        updates[0].step()
        yield


def train_vae(images: Iterator[Tensor], shape: VaeConfig, device: torch.device) -> Iterator[None]:
    """Runs one step of pytorch/examples/vae per iteration, with our networks instead of its linear layers."""
    encoder, decoder = Encoder(shape).to(device), Decoder(shape).to(device)
    optimiser = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=1e-3)
    for batch in images:
        optimiser.zero_grad()
        mean, log_variance = encoder(batch)
        raw = decoder(reparametrise(mean, log_variance, torch.randn_like(mean)))
        kl = kl_to_standard_normal(mean, log_variance, log_variance.exp())
        loss = F.mse_loss(raw, batch, reduction="sum") + kl.sum()
        loss.backward()
        optimiser.step()
        loss.item()
        yield
