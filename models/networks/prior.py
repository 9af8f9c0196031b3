"""The fitted prior of a VAE: a small normalising flow.

The codes of real images do not follow N(0, I), so samples of N(0, I) include codes that the decoder never saw in
training. A flow from N(0, I) to the distribution of the codes closes that gap (Dai & Wipf 2019 use a second VAE, Ghosh
2020 a mixture). It consists of matrix products and therefore exports to ONNX unchanged.
"""

import torch
from torch import Tensor, nn

from models.losses.elbo import flow_nll
from models.shapes import check_shape

MAX_LOG_SCALE = 2.0


class Coupling(nn.Module):
    """Affine coupling (Dinh 2017, eq. 4-8): the first half of the dimensions scales and shifts the second.

    In a conditional flow the one-hot label is concatenated with the first half.
    """

    def __init__(self, length: int, width: int, classes: int) -> None:
        super().__init__()
        self.kept = length // 2
        last = nn.Linear(width, 2 * (length - self.kept))
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.layers = nn.Sequential(
            nn.Linear(self.kept + classes, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(), last
        )

    def forward(self, noise: Tensor, label: Tensor) -> Tensor:
        """Maps noise float [N, L] and one-hot labels [N, K] towards codes float [N, L]; reverses the dimensions."""
        kept, changed = noise[:, : self.kept], noise[:, self.kept :]
        log_scale, shift = self._scale_shift(kept, label)
        return torch.cat([kept, changed * log_scale.exp() + shift], dim=1).flip(1)

    def inverse(self, codes: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        """Maps codes float [N, L] and one-hot labels [N, K] towards noise, float [N, L], and log |det| float [N]."""
        codes = codes.flip(1)
        kept, changed = codes[:, : self.kept], codes[:, self.kept :]
        log_scale, shift = self._scale_shift(kept, label)
        return torch.cat([kept, (changed - shift) * (-log_scale).exp()], dim=1), -log_scale.sum(1)

    def _scale_shift(self, kept: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        log_scale, shift = self.layers(torch.cat([kept, label], dim=1)).chunk(2, dim=1)
        return MAX_LOG_SCALE * torch.tanh(log_scale / MAX_LOG_SCALE), shift


class FlowPrior(nn.Module):
    """Maps standard normal noise float [N, L] to codes float [N, L]: couplings, then the codes' mean and deviation.

    With `classes` above 0 the flow is conditional and takes labels int64 [N]. Other shapes raise ValueError.
    """

    mean: Tensor
    spread: Tensor
    one_hot: Tensor

    def __init__(self, length: int, layers: int, width: int, classes: int = 0) -> None:
        super().__init__()
        if length < 2:
            raise ValueError("a flow needs codes of length 2 or more")
        self._length, self._classes = length, classes
        self.couplings = nn.ModuleList(Coupling(length, width, classes) for _ in range(layers))
        self.register_buffer("mean", torch.zeros(length))
        self.register_buffer("spread", torch.ones(length))
        self.register_buffer("one_hot", torch.eye(classes), persistent=False)

    def forward(self, noise: Tensor, label: Tensor | None = None) -> Tensor:
        """Returns codes float [N, L]."""
        check_shape(noise, "noise", ("N", self._length))
        condition = self._condition(noise, label)
        for coupling in self.couplings:
            noise = coupling(noise, condition)
        return noise * self.spread + self.mean

    def nll(self, codes: Tensor, label: Tensor | None = None) -> Tensor:
        """Returns the mean negative log-likelihood of codes float [N, L] in nats."""
        check_shape(codes, "codes", ("N", self._length))
        condition = self._condition(codes, label)
        codes = (codes - self.mean) / self.spread
        log_determinant = -self.spread.log().sum().expand(len(codes))
        for coupling in reversed(self.couplings):
            assert isinstance(coupling, Coupling)
            codes, change = coupling.inverse(codes, condition)
            log_determinant = log_determinant + change
        return flow_nll(codes, log_determinant)

    def _condition(self, codes: Tensor, label: Tensor | None) -> Tensor:
        """Returns one-hot labels float [N, K], or float [N, 0] for an unconditional flow."""
        if not self._classes:
            return codes[:, :0]
        check_shape(label, "label", ("N",), "int64")
        return self.one_hot[label]  # indexing fails for an unknown label, in the ONNX model too
