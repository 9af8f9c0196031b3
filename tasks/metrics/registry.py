"""What each figure of a metrics file is called, which way is better, and what it means; for the card and the report."""

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal


@dataclass(frozen=True)
class Metric:
    """A kind of figure; `pattern` matches its names, which carry the protocol."""

    pattern: str
    title: str
    better: Literal["lower", "higher", ""]
    meaning: str


METRICS = (
    Metric(
        "fd_relative",
        "Relative Fréchet distance",
        "lower",
        "Fréchet distance to the test images over their own variance: 0 is perfect, 1 is one mean image for ever.",
    ),
    Metric(
        "fd_relative_second",
        "The same, second judge",
        "lower",
        "The same by a network that learnt something else.",
    ),
    Metric(
        "fd_relative_standard_prior",
        "The same, codes from N(0, I)",
        "lower",
        "What the VAE would score without the prior that was fitted to its codes.",
    ),
    Metric(
        "fd_relative_reconstructions",
        "The same, reconstructions",
        "lower",
        "What the VAE's decoder scores on the codes of the test images: the best its samples can hope for.",
    ),
    Metric(
        "fd_infinite_test",
        "Fréchet distance, extrapolated",
        "lower",
        "The distance to the test images that infinitely many generated images would have; few lie too high.",
    ),
    Metric(
        "fd_*_test",
        "Fréchet distance, test",
        "lower",
        "Distance between the Gaussians that fit the features of generated images and of unseen test images.",
    ),
    Metric(
        "fd_*_train",
        "Fréchet distance, train",
        "lower",
        "The same against the training images; far below the distance to the test images, it hints at copying.",
    ),
    Metric(
        "kd_*_test",
        "Kernel distance, test",
        "lower",
        "Distance that assumes no Gaussian and is unbiased: about 0 when nothing can be told apart, at times negative.",
    ),
    Metric(
        "kd_*_stderr",
        "Its standard error",
        "",
        "Differences in kernel distance below about two of these mean nothing.",
    ),
    Metric(
        "precision",
        "Precision",
        "higher",
        "Share of generated images that lie among real ones: how believable they are.",
    ),
    Metric(
        "recall",
        "Recall",
        "higher",
        "Share of real images that lie among generated ones: how much of the variety is there.",
    ),
    Metric(
        "density",
        "Density",
        "higher",
        "Like precision, but outliers do not fool it: about 1 for real images, more when only safe ones are made.",
    ),
    Metric(
        "coverage",
        "Coverage",
        "higher",
        "Share of real images with a generated one nearby; a generator that repeats itself fails here.",
    ),
    Metric(
        "vendi",
        "Vendi score",
        "higher",
        "How many images there are, as it were, that have nothing in common: at most the length of the features.",
    ),
    Metric(
        "accuracy_score",
        "Classifier accuracy score",
        "higher",
        "What a network that learnt from generated images alone gets right of real ones; only of models told a label.",
    ),
    Metric(
        "memorised",
        "Near a training image",
        "",
        "Share that comes nearer to a training image than all but 1 % of unseen ones do: 0.01 is none, 1 is a replay.",
    ),
    Metric(
        "memorised_p",
        "Chance of such nearness",
        "",
        "Of a rank-sum test against unseen images; next to nothing where images are nearer in general, however little.",
    ),
    Metric(
        "psnr_reconstructions",
        "Reconstruction PSNR (dB)",
        "higher",
        "How close the VAE's reconstructions of test images come, pixel by pixel, for a range of 0 to 1.",
    ),
    Metric(
        "ssim_reconstructions",
        "Reconstruction SSIM",
        "higher",
        "How alike test images and their reconstructions are in local mean, contrast and structure; 1 is equal.",
    ),
    Metric(
        "active_units",
        "Active units",
        "",
        "Dimensions of the code that depend on the image.",
    ),
    Metric(
        "reconstruction_nats",
        "Reconstruction (nats)",
        "higher",
        "Log-density of the test images given their codes, pixels being normal around what is decoded.",
    ),
    Metric(
        "kl_nats",
        "Divergence (nats)",
        "",
        "What the codes say of an image: their distance from N(0, I).",
    ),
    Metric(
        "bound_nats",
        "Bound (nats)",
        "higher",
        "Reconstruction less divergence: a lower bound on the log-density of a test image.",
    ),
    Metric(
        "iw_1_nats",
        "Bound on fewer images (nats)",
        "higher",
        "The bound on those images that the next figure is taken of, with one draw of the code.",
    ),
    Metric(
        "iw_*_nats",
        "Importance-weighted bound (nats)",
        "higher",
        "The same with many draws of the code: nearer to the log-density itself.",
    ),
    Metric(
        "bits_per_value",
        "Bits per value",
        "lower",
        "The bound as the length of a code for the test images, per pixel and channel of 256 steps.",
    ),
)


def describe(name: str) -> Metric:
    """The figure that `name` is one of; a name that nobody described stands for itself."""
    known = (figure for figure in METRICS if fnmatchcase(name, figure.pattern))
    return next(known, Metric(name, name.replace("_", " "), "", ""))


def ordered(names: list[str]) -> list[str]:
    """Names in the order of FIGURES, unknown ones last."""
    patterns = [figure.pattern for figure in METRICS]
    return sorted(names, key=lambda name: ([*patterns, describe(name).pattern].index(describe(name).pattern), name))


def shown(value: float | None) -> str:
    """A figure with three significant digits; a dash when there is none."""
    if value is None:
        return "-"
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:#.3g}".rstrip(".")
