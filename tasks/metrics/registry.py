"""Title, direction and meaning of every metric in data/metrics, for the report, the model card and the README."""

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal


@dataclass(frozen=True)
class Metric:
    """A metric; `pattern` matches its names, which carry numbers of the protocol."""

    pattern: str
    title: str
    better: Literal["lower", "higher", ""]
    meaning: str


# fmt: off
METRICS = (
    Metric("fd_relative", "Relative Fréchet distance", "lower",
           "Fréchet distance between the evaluator's features of generated and of held-out test images, divided by the "
           "variance of the latter: 0 for equal distributions, 1 if every image has the mean of the real features."),
    Metric("fd_relative_second", "Relative Fréchet distance (second evaluator)", "lower",
           "The same distance on the features of the second evaluator, a different network."),
    Metric("fd_relative_standard_prior", "Relative Fréchet distance, codes from N(0, I)", "lower",
           "The VAE's relative Fréchet distance with codes from N(0, I) instead of the prior fitted to its codes."),
    Metric("fd_relative_reconstructions", "Relative Fréchet distance, reconstructions", "lower",
           "The same distance for the VAE's reconstructions of test images; samples are not expected to be better."),
    Metric("fd_infinite_test", "Fréchet distance, extrapolated", "lower",
           "Fréchet distance to the test images, extrapolated to infinitely many generated images (FID-infinity); "
           "a finite number of images makes the distance too large."),
    Metric("fd_*_test", "Fréchet distance, test", "lower",
           "Squared Fréchet distance between the Gaussians that fit the features of generated and of held-out test "
           "images; with Inception features this is the FID."),
    Metric("fd_*_train", "Fréchet distance, train", "lower",
           "The same distance to the training images; if far below that to the test images, a sign of memorisation."),
    Metric("kd_*_test", "Kernel distance, test", "lower",
           "Squared maximum mean discrepancy to the test images with a cubic kernel (KID with Inception features). It "
           "assumes no Gaussian and is unbiased: about 0, at times below, for equal distributions."),
    Metric("kd_*_stderr", "Kernel distance, standard error", "",
           "Standard error of the kernel distance. Differences below about two standard errors are not significant."),
    Metric("precision", "Precision", "higher",
           "Share of generated images within the k-nearest-neighbour ball of a test image: how realistic they are."),
    Metric("recall", "Recall", "higher",
           "Share of test images within the k-nearest-neighbour ball of a generated image: how much of the variety of "
           "real images the model generates."),
    Metric("density", "Density", "higher",
           "Mean number of test images whose k-nearest-neighbour ball holds a generated image, divided by k: like "
           "precision, but robust to outliers. About 1 for real images, more if all generated images are typical."),
    Metric("coverage", "Coverage", "higher",
           "Share of test images whose k-nearest-neighbour ball holds a generated image; low after mode collapse."),
    Metric("vendi", "Vendi score", "higher",
           "Effective number of different images, from 1 (all alike) to the number of features."),
    Metric("accuracy_score", "Classifier accuracy score", "higher",
           "Accuracy on real test images of a classifier trained on generated images alone; conditional models only."),
    Metric("memorised", "Near a training image", "",
           "Share of generated images that are nearer to a training image than 99 % of held-out images are: 0.01 "
           "without memorisation, 1 for exact copies."),
    Metric("memorised_p", "Near a training image, p-value", "",
           "p-value of a one-sided rank-sum test that generated images are no nearer to training images than held-out "
           "images are; with many images it is tiny for differences that do not matter."),
    Metric("psnr_reconstructions", "Reconstruction PSNR (dB)", "higher",
           "Peak signal-to-noise ratio of the VAE's reconstructions of test images, for pixels in [0, 1]."),
    Metric("ssim_reconstructions", "Reconstruction SSIM", "higher",
           "Structural similarity of test images and their reconstructions in local mean, contrast and structure; 1 "
           "for equal images."),
    Metric("active_units", "Active units", "",
           "Number of dimensions of the code whose mean varies with the image."),
    Metric("reconstruction_nats", "Reconstruction (nats)", "higher",
           "Log-density of a test image given its code, with normal pixels around the decoded image."),
    Metric("kl_nats", "KL divergence (nats)", "",
           "KL divergence from N(0, I) of the code's distribution given an image: how much information the code has."),
    Metric("bound_nats", "ELBO (nats)", "higher",
           "Evidence lower bound on the log-density of a test image: reconstruction minus KL divergence."),
    Metric("iw_1_nats", "ELBO on fewer images (nats)", "higher",
           "The lower bound with one sample of the code, on the images of the importance-weighted bound."),
    Metric("iw_*_nats", "Importance-weighted bound (nats)", "higher",
           "Lower bound with many samples of the code (IWAE), closer to the log-density than the ELBO."),
    Metric("bits_per_value", "Bits per value", "lower",
           "The ELBO as a code length in bits per pixel and channel, each with 256 levels."),
)
# fmt: on


def describe(name: str) -> Metric:
    """Returns the description of a metric; an unknown one is described by its name."""
    matches = (metric for metric in METRICS if fnmatchcase(name, metric.pattern))
    return next(matches, Metric(name, name.replace("_", " "), "", ""))


def ordered(names: list[str]) -> list[str]:
    """Sorts names in the order of METRICS, unknown ones last."""
    patterns = [metric.pattern for metric in METRICS]
    return sorted(names, key=lambda name: ([*patterns, describe(name).pattern].index(describe(name).pattern), name))


def format_metric(value: float | None) -> str:
    """Formats a metric with three significant digits, None as a dash."""
    if value is None:
        return "-"
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:#.3g}".rstrip(".")
