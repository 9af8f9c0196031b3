"""The game of generator against discriminator, and what keeps its slopes small.

Logits are float32 [N]; images float32 [N, C, H, W]; results are float32 scalars.
"""

from typing import assert_never

import torch
import torch.nn.functional as F
from torch import Tensor

from models.settings import GanLoss


# ---- the discriminator's loss --------------------------------------------------------------------------------------
# minimax, non_saturating   -E[log s(D(x))] - E[log(1 - s(D(G(z))))]         Goodfellow 2014, eq. 1 (cross-entropy)
# hinge                      E[max(0, 1 - D(x))] + E[max(0, 1 + D(G(z)))]    Lim & Ye 2017, eq. 10; Miyato 2018, eq. 16
# relativistic               E[softplus(D(G(z)) - D(x))]                     Jolicoeur-Martineau 2019; Huang 2024, eq. 2
def discriminator_loss(game: GanLoss, real: Tensor, fake: Tensor) -> Tensor:
    """Loss that the discriminator minimises, from its logits on real and generated images, each [N]."""
    match game:
        case "minimax" | "non_saturating":
            return F.softplus(-real).mean() + F.softplus(fake).mean()
        case "hinge":
            return F.relu(1 - real).mean() + F.relu(1 + fake).mean()
        case "relativistic":
            return F.softplus(fake - real).mean()
    assert_never(game)


# ---- the generator's loss ------------------------------------------------------------------------------------------
# minimax          E[log(1 - s(D(G(z))))]          Goodfellow 2014, eq. 1
# non_saturating  -E[log s(D(G(z)))]               Goodfellow 2014, section 3
# hinge           -E[D(G(z))]                      Miyato 2018, eq. 17
# relativistic     E[softplus(D(x) - D(G(z)))]     Huang 2024, eq. 2
def generator_loss(game: GanLoss, real: Tensor, fake: Tensor) -> Tensor:
    """Loss that the generator minimises, from logits, each [N]; only `relativistic` reads `real`."""
    match game:
        case "minimax":
            return -F.softplus(fake).mean()
        case "non_saturating":
            return F.softplus(-fake).mean()
        case "hinge":
            return -fake.mean()
        case "relativistic":
            return F.softplus(real - fake).mean()
    assert_never(game)


# ---- gamma / 2 * E[ |grad_x D(x)|^2 ], R1 on real and R2 on generated images: Mescheder 2018, eq. 9 and 10 -----------
def gradient_penalty(logits: Tensor, images: Tensor, gamma: float) -> Tensor:
    """Penalty on the slope of `logits` [N] at `images` [N, C, H, W], which must require gradients."""
    (slope,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
    return gamma / 2 * slope.square().sum((1, 2, 3)).mean()
