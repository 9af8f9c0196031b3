"""The law of a VAE's codes: a small normalising flow.

The codes of real images do not follow N(0, I), so decoding N(0, I) visits places the decoder never saw. A flow from
N(0, I) to the codes closes that gap (Dai & Wipf 2019 do it with a second VAE, Ghosh 2020 with a mixture); being
continuous and made of matrix products, it goes into the exported graph as it is.
"""

import torch
from torch import Tensor, nn

from models.losses.elbo import flow_nll

LARGEST_LOG_SCALE = 2.0


class Coupling(nn.Module):
    """Affine coupling (Dinh 2017, eq. 4-8): the first half of the dimensions scales and shifts the second.

    A label's one-hot vector stands beside the first half where the flow is told labels.
    """

    def __init__(self, length: int, width: int, classes: int) -> None:
        super().__init__()
        self.kept = length // 2
        moved = length - self.kept
        last = nn.Linear(width, 2 * moved)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.layers = nn.Sequential(
            nn.Linear(self.kept + classes, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(), last
        )

    def forward(self, noise: Tensor, label: Tensor) -> Tensor:
        """Towards codes: float [N, L] and one-hot [N, K] to float [N, L]; the order of the dimensions is turned."""
        kept, moved = noise[:, : self.kept], noise[:, self.kept :]
        log_scale, shift = self._scale_shift(kept, label)
        return torch.cat([kept, moved * log_scale.exp() + shift], dim=1).flip(1)

    def inverse(self, codes: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        """Towards noise: float [N, L] and one-hot [N, K] to float [N, L] and log |det| of that step, float [N]."""
        codes = codes.flip(1)
        kept, moved = codes[:, : self.kept], codes[:, self.kept :]
        log_scale, shift = self._scale_shift(kept, label)
        return torch.cat([kept, (moved - shift) * (-log_scale).exp()], dim=1), -log_scale.sum(1)

    def _scale_shift(self, kept: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        log_scale, shift = self.layers(torch.cat([kept, label], dim=1)).chunk(2, dim=1)
        return LARGEST_LOG_SCALE * torch.tanh(log_scale / LARGEST_LOG_SCALE), shift


class FlowPrior(nn.Module):
    """Standard normal noise float [N, L] to codes float [N, L]: couplings, then the codes' own mean and spread.

    With `classes` above 0 it is the law of the codes given a label.
    """

    mean: Tensor
    spread: Tensor
    one_hot: Tensor

    def __init__(self, length: int, layers: int, width: int, classes: int = 0) -> None:
        super().__init__()
        if length < 2:
            raise ValueError("a flow needs codes of length 2 or more")
        self.couplings = nn.ModuleList(Coupling(length, width, classes) for _ in range(layers))
        self.register_buffer("mean", torch.zeros(length))
        self.register_buffer("spread", torch.ones(length))
        self.register_buffer("one_hot", torch.eye(classes), persistent=False)

    def forward(self, noise: Tensor, label: Tensor | None = None) -> Tensor:
        """float [N, L] and, for a flow that is told labels, int64 [N] to float [N, L]."""
        told = self._told(noise, label)
        for coupling in self.couplings:
            noise = coupling(noise, told)
        return noise * self.spread + self.mean

    def nll(self, codes: Tensor, label: Tensor | None = None) -> Tensor:
        """Negative log-likelihood of codes float [N, L], given labels int64 [N], mean over the batch, in nats."""
        told = self._told(codes, label)
        codes = (codes - self.mean) / self.spread
        log_determinant = -self.spread.log().sum().expand(len(codes))
        for coupling in reversed(self.couplings):
            assert isinstance(coupling, Coupling)
            codes, change = coupling.inverse(codes, told)
            log_determinant = log_determinant + change
        return flow_nll(codes, log_determinant)

    def _told(self, like: Tensor, label: Tensor | None) -> Tensor:
        """One-hot float [N, K]; [N, 0] where no labels are told."""
        if label is None:
            return like[:, :0]
        return self.one_hot[label]  # a look-up refuses numbers that no label has, also in the exported file
