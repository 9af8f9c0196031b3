"""The VAE's own metrics: of its reconstructions, of its likelihood bounds, and of samples without the fitted prior."""

from pathlib import Path

import numpy as np
import onnxruntime as ort
import torch
from numpy.typing import ArrayLike
from scipy.special import logsumexp
from torchmetrics.functional.image import structural_similarity_index_measure

from models.losses.elbo import kl_to_standard_normal
from models.training.health import active_units
from models.training.random import generator as random_stream
from tasks.common.cli import Progress
from tasks.common.image_grid import grid, paired, write_png
from tasks.common.params import EvaluateSettings, Params
from tasks.evaluate.results import relative_interval
from tasks.evaluate.sampling import ExportedGenerator, Rows, as_bytes, blocks, extract_features
from tasks.export.session import run_onnx, session
from tasks.metrics.bootstrap import Interval
from tasks.metrics.intervals import mean_interval
from tasks.preprocess.dataset import Prepared, Split
from tasks.reference.statistics import ReferenceStatistics

ONNX = Path("data/onnx/vae")
VARIANCE_IMAGES = 2_000  # validation images that `pixel_variance` is estimated from
MIN_VARIANCE = 1e-10  # of pixels in [0, 1]; exact reconstructions have no finite density or PSNR


class Autoencoder:
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


def own_metrics(
    reference: ReferenceStatistics, prepared: Prepared, params: Params, folder: Path
) -> dict[str, Interval | float]:
    """Computes the VAE's own metrics on test images; writes reconstructions.png."""
    test, settings, evaluator = prepared.split("test"), params.evaluate, reference.evaluator
    paths, count = (ONNX / "encoder.onnx", ONNX / "decoder.onnx"), min(settings.n_images, len(test))
    autoencoder = Autoencoder(*(session(path, params.threads, evaluator.device) for path in paths))
    standard, what = ExportedGenerator(autoencoder.decoder, settings, []), "evaluating samples without the fitted prior"
    [samples] = extract_features([evaluator], standard.gather, settings.n_images, what)
    errors, similarities = list[np.ndarray](), list[np.ndarray]()

    def reconstruct(rows: Rows) -> np.ndarray:
        images = test.gather(rows)
        reconstructions = as_bytes(autoencoder.decode(autoencoder.encode(images)[0]))
        errors.append(squared_errors(images, reconstructions))
        similarities.append(ssim(images, reconstructions))
        return reconstructions

    [features] = extract_features([evaluator], reconstruct, count, "evaluating reconstructions")
    shown = np.arange(min(settings.grid * (settings.grid // 2), len(test)))
    write_png(folder / "reconstructions.png", grid(paired(test.gather(shown), reconstruct(shown)), settings.grid))
    squared = np.concatenate(errors)[:count]
    return {
        "fd_relative_standard_prior": relative_interval(samples, reference.real, settings),
        "fd_relative_reconstructions": relative_interval(features, reference.real, settings),
        "psnr_reconstructions": mean_interval(-10 * np.log10(np.maximum(squared, MIN_VARIANCE))),
        "ssim_reconstructions": mean_interval(np.concatenate(similarities)[:count]),
        **elbo_metrics(autoencoder, test, prepared.split("validation"), settings),
    }


def elbo_metrics(
    autoencoder: Autoencoder, test: Split, validation: Split, settings: EvaluateSettings
) -> dict[str, Interval | float]:
    """Computes lower bounds on ln p(x) of test images: the ELBO in nats and bits, its two terms, and the IWAE bound.

    The model is that of the training: codes from N(0, I), without the fitted prior, and pixels in [0, 1] from
    N(decoded, v). v is one number, estimated on validation images, so that models with other losses can be compared.
    """
    variance = pixel_variance(autoencoder, validation, settings.seed)
    likelihoods, divergences, means = [], [], []
    for rows in blocks(min(settings.n_images, len(test))):
        images = test.gather(rows)
        mean, log_variance = autoencoder.encode(images)
        codes = sample_codes(mean, log_variance, 1, settings.seed, int(rows[0]))[:, 0]
        likelihoods.append(pixel_log_density(images, autoencoder.decode(codes), variance))
        divergences.append(gaussian_kl(mean, log_variance).sum(axis=1))
        means.append(mean)
    reconstruction, divergence = np.concatenate(likelihoods), np.concatenate(divergences)
    bound, pixels = reconstruction - divergence, int(np.prod(test.shape))
    weights = importance_weights(autoencoder, test, variance, settings)
    return {
        "active_units": float(active_units(torch.from_numpy(np.concatenate(means)))),
        "reconstruction_nats": mean_interval(reconstruction),
        "kl_nats": mean_interval(divergence),
        "bound_nats": mean_interval(bound),
        # 8 bits for the 256 levels, over each of which the density is taken as constant.
        "bits_per_value": mean_interval(8 - bound / (pixels * np.log(2))),
        f"iw_{settings.iwae_samples}_nats": mean_interval(importance_weighted_bounds(weights)),
        "iw_1_nats": mean_interval(importance_weighted_bounds(weights[:, :1])),
    }


def pixel_variance(autoencoder: Autoencoder, images: Split, seed: int) -> float:
    """Maximum-likelihood variance of pixels in [0, 1]: the mean squared error with one sampled code per image."""
    errors = []
    for rows in blocks(min(VARIANCE_IMAGES, len(images))):
        originals = images.gather(rows)
        codes = sample_codes(*autoencoder.encode(originals), 1, seed, int(rows[0]))[:, 0]
        errors.append(np.square(originals / 255 - autoencoder.decode(codes)).mean((1, 2, 3)))
    return max(float(np.concatenate(errors).mean()), MIN_VARIANCE)


def importance_weights(model: Autoencoder, test: Split, variance: float, settings: EvaluateSettings) -> np.ndarray:
    """ln p(x, z) - ln q(z | x), float64 [N, K], of `iwae_images` N images x with `iwae_samples` K codes z each."""
    count = min(settings.iwae_images, len(test))
    weights = []
    with Progress(count, "computing importance weights") as progress:
        for row in range(count):
            image = test.gather([row])
            mean, log_variance = model.encode(image)
            codes = sample_codes(mean, log_variance, settings.iwae_samples, settings.seed, row)[0]
            joint = pixel_log_density(image, model.decode(codes), variance)
            joint += gaussian_log_density(codes, 0.0, 0.0)
            weights.append(joint - gaussian_log_density(codes, mean, log_variance))
            progress.advance(1)
    return np.stack(weights)


def sample_codes(mean: np.ndarray, log_variance: np.ndarray, samples: int, seed: int, row: int) -> np.ndarray:
    """Samples K codes of each of N images, float32 [N, K, L]; `row` is the number of the first image."""
    random = random_stream(seed, f"codes {samples}", row)
    normal = torch.randn(len(mean), samples, mean.shape[1], generator=random).numpy()
    codes: np.ndarray = mean[:, None] + np.exp(log_variance / 2)[:, None] * normal
    return codes


def pixel_log_density(images: np.ndarray, decoded: np.ndarray, variance: float) -> np.ndarray:
    """ln N(x; decoded, variance) in nats, float64 [N], of uint8 and decoded float in [0, 1], both [N, C, H, W]."""
    squared = np.square(images.astype(np.float32) / 255 - decoded).sum((1, 2, 3), dtype=np.float64)
    density: np.ndarray = -(squared / variance + np.prod(images.shape[1:]) * np.log(2 * np.pi * variance)) / 2
    return density


def gaussian_kl(mean: ArrayLike, log_variance: ArrayLike) -> np.ndarray:
    """KL(N(m, s^2) || N(0, I)) = (m^2 + s^2 - 1 - ln s^2) / 2 in nats per dimension, float64 [N, D], of two [N, D].

    Kingma & Welling 2014 (arXiv 1312.6114), appendix B. A dimension with a mean near 0 over images carries nothing.
    """
    m, v = np.asarray(mean, np.float64), np.asarray(log_variance, np.float64)
    return kl_to_standard_normal(m, v, np.exp(v))


def gaussian_log_density(values: ArrayLike, mean: ArrayLike, log_variance: ArrayLike) -> np.ndarray:
    """ln N(values; mean, exp(log_variance)) in nats, summed over the last axis; the arguments broadcast."""
    x, m, v = (np.asarray(each, np.float64) for each in (values, mean, log_variance))
    density: np.ndarray = (-(np.square(x - m) * np.exp(-v) + v + np.log(2 * np.pi)) / 2).sum(axis=-1)
    return density


def importance_weighted_bounds(log_weights: ArrayLike) -> np.ndarray:
    """ln (1/K) sum_k w_k in nats, float64 [N], of log-weights ln p(x, z_k) - ln q(z_k | x), float [N, K].

    A lower bound on ln p(x): Burda et al. 2016 (arXiv 1509.00519), equation 8. With K = 1 it is the ELBO; it rises with
    K towards ln p(x). Raises ValueError unless there are images and all entries are finite.
    """
    weights = np.asarray(log_weights, np.float64)
    if weights.ndim != 2 or not weights.size or not np.isfinite(weights).all():
        raise ValueError(f"log weights of shape {weights.shape} must be finite, [N, K]")
    bounds: np.ndarray = logsumexp(weights, axis=1) - np.log(weights.shape[1])
    return bounds


def squared_errors(images: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Mean squared error of each image, float [N], of pixels in [0, 1], from two uint8 [N, C, H, W]."""
    errors: np.ndarray = np.square((images.astype(np.float32) - others) / 255).mean((1, 2, 3))
    return errors


def ssim(images: np.ndarray, others: np.ndarray) -> np.ndarray:
    """SSIM of each image, float [N], from two uint8 [N, C, H, W] (Wang et al. 2004; Gaussian window of 1.5 pixels)."""
    first, second = (torch.from_numpy(each.astype(np.float32) / 255) for each in (others, images))
    values = structural_similarity_index_measure(first, second, data_range=1.0, reduction="none")
    assert isinstance(values, torch.Tensor)
    return values.numpy()
