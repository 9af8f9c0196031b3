"""What bounds a VAE's samples: its reconstructions, its bound on the likelihood, N(0, I) without the fitted prior."""

from pathlib import Path

import numpy as np
import onnxruntime as ort
import torch
from torchmetrics.functional.image import structural_similarity_index_measure

from models.training.health import active_units
from models.training.random import generator as stream
from tasks.common.cli import Progress
from tasks.common.image_grid import grid, paired, write_png
from tasks.common.params import EvaluateSettings, Params
from tasks.evaluate.results import relative_interval
from tasks.evaluate.sampling import Rows, Sampling, as_bytes, blocks, look
from tasks.export.session import run_onnx, session
from tasks.metrics.bootstrap import Interval
from tasks.metrics.intervals import mean_interval
from tasks.metrics.likelihood import gaussian_divergence, gaussian_log_density, importance_weighted_bounds
from tasks.preprocess.dataset import Prepared, Split
from tasks.reference.statistics import ReferenceStatistics

ONNX = Path("data/onnx/vae")
MEASURED = 2_000  # validation images that the variance of the pixels' noise is measured on
LEAST_VARIANCE = 1e-10  # of pixels in [0, 1]; a perfect copy has no finite density or PSNR


def vae_metrics(
    reference: ReferenceStatistics, prepared: Prepared, params: Params, folder: Path
) -> dict[str, Interval | float]:
    """Figures of the test images' reconstructions and of the bound; writes reconstructions.png."""
    test, settings, evaluator = prepared.split("test"), params.evaluate, reference.evaluator
    coder = Coder(
        *(session(ONNX / f"{name}.onnx", params.threads, evaluator.device) for name in ("encoder", "decoder"))
    )
    count = min(settings.n_images, len(test))
    [standard] = look(
        [evaluator], Sampling(coder.decoder, settings, []), settings.n_images, "judging without the fitted prior"
    )
    errors: list[np.ndarray] = []
    likenesses: list[np.ndarray] = []

    def reconstruct(rows: Rows) -> np.ndarray:
        images = test.gather(rows)
        copies = as_bytes(coder.decode(coder.encode(images)[0]))
        errors.append(squared_errors(images, copies))
        likenesses.append(similarity(images, copies))
        return copies

    [features] = look([evaluator], reconstruct, count, "judging reconstructions")
    shown = np.arange(min(settings.grid * (settings.grid // 2), len(test)))
    write_png(folder / "reconstructions.png", grid(paired(test.gather(shown), reconstruct(shown)), settings.grid))
    squared = np.concatenate(errors)[:count]
    return {
        "fd_relative_standard_prior": relative_interval(standard, reference.real, settings),
        "fd_relative_reconstructions": relative_interval(features, reference.real, settings),
        "psnr_reconstructions": mean_interval(-10 * np.log10(np.maximum(squared, LEAST_VARIANCE))),
        "ssim_reconstructions": mean_interval(np.concatenate(likenesses)[:count]),
        **elbo_metrics(coder, test, prepared.split("validation"), settings),
    }


class Coder:
    """The exported encoder and decoder."""

    def __init__(self, encoder: ort.InferenceSession, decoder: ort.InferenceSession) -> None:
        self.encoder, self.decoder = encoder, decoder

    def encode(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """uint8 [N, C, H, W] to mean and log-variance of the codes, float32 [N, L] each."""
        mean, log_variance = run_onnx(self.encoder, images.astype(np.float32) / 255)
        return mean, log_variance

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """Codes float32 [N, L] to images float32 [N, C, H, W] in [0, 1]."""
        return run_onnx(self.decoder, codes)[0]


def elbo_metrics(
    coder: Coder, test: Split, validation: Split, settings: EvaluateSettings
) -> dict[str, Interval | float]:
    """The bound on ln p(x) of test images in nats, in its two parts and by importance weights, and in bits.

    Pixels in [0, 1] follow N(decoded, v), codes N(0, I): the model as it was trained, before a prior was fitted to its
    codes. One v serves all pixels; it is what validation images show, so that models with other losses compare.
    """
    variance = pixel_variance(coder, validation, settings.seed)
    likelihoods, divergences, means = [], [], []
    for rows in blocks(min(settings.n_images, len(test))):
        images = test.gather(rows)
        mean, log_variance = coder.encode(images)
        codes = drawn(mean, log_variance, 1, settings.seed, int(rows[0]))[:, 0]
        likelihoods.append(pixel_log_density(images, coder.decode(codes), variance))
        divergences.append(gaussian_divergence(mean, log_variance).sum(axis=1))
        means.append(mean)
    reconstruction, divergence = np.concatenate(likelihoods), np.concatenate(divergences)
    bound, pixels = reconstruction - divergence, int(np.prod(test.shape))
    weights = importance_weights(coder, test, variance, settings)
    return {
        "active_units": float(active_units(torch.from_numpy(np.concatenate(means)))),
        "reconstruction_nats": mean_interval(reconstruction),
        "kl_nats": mean_interval(divergence),
        "bound_nats": mean_interval(bound),
        # Of 256 steps, the density taken as constant over a step.
        "bits_per_value": mean_interval(8 - bound / (pixels * np.log(2))),
        f"iw_{settings.iwae_samples}_nats": mean_interval(importance_weighted_bounds(weights)),
        "iw_1_nats": mean_interval(importance_weighted_bounds(weights[:, :1])),
    }


def pixel_variance(coder: Coder, images: Split, seed: int) -> float:
    """Mean squared error of pixels in [0, 1] when codes are drawn: the variance under which they are likeliest."""
    errors = []
    for rows in blocks(min(MEASURED, len(images))):
        mean, log_variance = coder.encode(some := images.gather(rows))
        codes = drawn(mean, log_variance, 1, seed, int(rows[0]))[:, 0]
        errors.append(np.square(some / 255 - coder.decode(codes)).mean((1, 2, 3)))
    return max(float(np.concatenate(errors).mean()), LEAST_VARIANCE)


def importance_weights(coder: Coder, test: Split, variance: float, settings: EvaluateSettings) -> np.ndarray:
    """ln p(x, z) - ln q(z | x), float64 [N, K], of `iwae_images` N and `iwae_samples` K."""
    count = min(settings.iwae_images, len(test))
    weights = []
    with Progress(count, "weighing draws of the code") as shown:
        for row in range(count):
            image = test.gather([row])
            mean, log_variance = coder.encode(image)
            codes = drawn(mean, log_variance, settings.iwae_samples, settings.seed, row)[0]
            joint = pixel_log_density(image, coder.decode(codes), variance) + gaussian_log_density(codes, 0.0, 0.0)
            weights.append(joint - gaussian_log_density(codes, mean, log_variance))
            shown.advance(1)
    return np.stack(weights)


def drawn(mean: np.ndarray, log_variance: np.ndarray, draws: int, seed: int, row: int) -> np.ndarray:
    """`draws` K codes of each of N images, float32 [N, K, L]; `row` is the number of the first image."""
    random = stream(seed, f"codes {draws}", row)
    normal = torch.randn(len(mean), draws, mean.shape[1], generator=random).numpy()
    codes: np.ndarray = mean[:, None] + np.exp(log_variance / 2)[:, None] * normal
    return codes


def pixel_log_density(images: np.ndarray, decoded: np.ndarray, variance: float) -> np.ndarray:
    """ln N(x; decoded, variance) in nats, float64 [N], of uint8 and of float [N, C, H, W] in [0, 1]."""
    squared = np.square(images.astype(np.float32) / 255 - decoded).sum((1, 2, 3), dtype=np.float64)
    density: np.ndarray = -(squared / variance + np.prod(images.shape[1:]) * np.log(2 * np.pi * variance)) / 2
    return density


def squared_errors(images: np.ndarray, copies: np.ndarray) -> np.ndarray:
    """Mean squared error of each image, float [N], of pixels in [0, 1], from two uint8 [N, C, H, W]."""
    errors: np.ndarray = np.square((images.astype(np.float32) - copies) / 255).mean((1, 2, 3))
    return errors


def similarity(images: np.ndarray, copies: np.ndarray) -> np.ndarray:
    """SSIM of each image, float [N] (Wang et al. 2004: Gaussian window of 1.5 pixels), for a range of 0 to 1."""
    first, second = (torch.from_numpy(each.astype(np.float32) / 255) for each in (copies, images))
    values = structural_similarity_index_measure(first, second, data_range=1.0, reduction="none")
    assert isinstance(values, torch.Tensor)
    return values.numpy()
