"""Adversarial losses and the gradient penalty.

Logits are float [N], images float [N, C, H, W], results float scalars. Other shapes raise ValueError.
"""

from typing import assert_never

import torch
import torch.nn.functional as F
from torch import Tensor

from models.settings import GanLoss
from models.shapes import check_shape


# ---- the discriminator's loss --------------------------------------------------------------------------------------
# minimax, non_saturating   -E[log s(D(x))] - E[log(1 - s(D(G(z))))]         Goodfellow 2014, eq. 1 (cross-entropy)
# hinge                      E[max(0, 1 - D(x))] + E[max(0, 1 + D(G(z)))]    Lim & Ye 2017, eq. 10; Miyato 2018, eq. 16
# relativistic               E[softplus(D(G(z)) - D(x))]                     Jolicoeur-Martineau 2019; Huang 2024, eq. 2
def discriminator_loss(loss: GanLoss, real: Tensor, fake: Tensor) -> Tensor:
    """Returns the discriminator's loss from its logits on real and on generated images, each [N]."""
    _check_logits(real, fake)
    match loss:
        case "minimax" | "non_saturating":
            return F.softplus(-real).mean() + F.softplus(fake).mean()
        case "hinge":
            return F.relu(1 - real).mean() + F.relu(1 + fake).mean()
        case "relativistic":
            return F.softplus(fake - real).mean()
    assert_never(loss)


# ---- the generator's loss ------------------------------------------------------------------------------------------
# minimax          E[log(1 - s(D(G(z))))]          Goodfellow 2014, eq. 1
# non_saturating  -E[log s(D(G(z)))]               Goodfellow 2014, section 3
# hinge           -E[D(G(z))]                      Miyato 2018, eq. 17
# relativistic     E[softplus(D(x) - D(G(z)))]     Huang 2024, eq. 2
def generator_loss(loss: GanLoss, real: Tensor, fake: Tensor) -> Tensor:
    """Returns the generator's loss from logits, each [N]; only `relativistic` uses `real`."""
    _check_logits(real, fake)
    match loss:
        case "minimax":
            return -F.softplus(fake).mean()
        case "non_saturating":
            return F.softplus(-fake).mean()
        case "hinge":
            return -fake.mean()
        case "relativistic":
            return F.softplus(real - fake).mean()
    assert_never(loss)


def _check_logits(real: Tensor, fake: Tensor) -> None:
    check_shape(real, "real logits", ("N",))
    check_shape(fake, "generated logits", tuple(real.shape))


# ---- gamma / 2 * E[ |grad_x D(x)|^2 ], R1 on real and R2 on generated images: Mescheder 2018, eq. 9 and 10 -----------
def gradient_penalty(logits: Tensor, images: Tensor, gamma: float) -> Tensor:
    """Returns the penalty on the gradient of `logits` [N] at `images` [N, C, H, W], which must require gradients."""
    check_shape(images, "images", ("N", "C", "H", "W"))
    check_shape(logits, "logits", (len(images),))
    (gradient,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
    return gamma / 2 * gradient.square().sum((1, 2, 3)).mean()
