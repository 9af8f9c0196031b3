"""What each figure of a metrics file is called, which way is better, and what it means; for the card and the report."""

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal


@dataclass(frozen=True)
class Figure:
    """A kind of figure; `pattern` matches its names, which carry the protocol."""

    pattern: str
    title: str
    better: Literal["lower", "higher", ""]
    meaning: str


FIGURES = (
    Figure(
        "fd_relative",
        "Relative Fréchet distance",
        "lower",
        "Fréchet distance to the test images over their own variance: 0 is perfect, 1 is one mean image for ever.",
    ),
    Figure(
        "fd_relative_standard_prior",
        "The same, codes from N(0, I)",
        "lower",
        "What the VAE would score without the prior that was fitted to its codes.",
    ),
    Figure(
        "fd_relative_reconstructions",
        "The same, reconstructions",
        "lower",
        "What the VAE's decoder scores on the codes of the test images: the best its samples can hope for.",
    ),
    Figure(
        "fd_*_test",
        "Fréchet distance, test",
        "lower",
        "Distance between the Gaussians that fit the features of generated images and of unseen test images.",
    ),
    Figure(
        "fd_*_train",
        "Fréchet distance, train",
        "lower",
        "The same against the training images; far below the distance to the test images, it hints at copying.",
    ),
    Figure(
        "kd_*_test",
        "Kernel distance, test",
        "lower",
        "Distance that assumes no Gaussian and is unbiased: about 0 when nothing can be told apart, at times negative.",
    ),
    Figure(
        "kd_*_stderr",
        "Its standard error",
        "",
        "Differences in kernel distance below about two of these mean nothing.",
    ),
    Figure(
        "precision",
        "Precision",
        "higher",
        "Share of generated images that lie among real ones: how believable they are.",
    ),
    Figure(
        "recall",
        "Recall",
        "higher",
        "Share of real images that lie among generated ones: how much of the variety is there.",
    ),
    Figure(
        "density",
        "Density",
        "higher",
        "Like precision, but outliers do not fool it: about 1 for real images, more when only safe ones are made.",
    ),
    Figure(
        "coverage",
        "Coverage",
        "higher",
        "Share of real images with a generated one nearby; a generator that repeats itself fails here.",
    ),
    Figure(
        "psnr_reconstructions",
        "Reconstruction PSNR (dB)",
        "higher",
        "How close the VAE's reconstructions of test images come, pixel by pixel, for a range of 0 to 1.",
    ),
)


def describe(name: str) -> Figure:
    """The figure that `name` is one of; a name that nobody described stands for itself."""
    known = (figure for figure in FIGURES if fnmatchcase(name, figure.pattern))
    return next(known, Figure(name, name.replace("_", " "), "", ""))


def ordered(names: list[str]) -> list[str]:
    """Names in the order of FIGURES, unknown ones last."""
    patterns = [figure.pattern for figure in FIGURES]
    return sorted(names, key=lambda name: ([*patterns, describe(name).pattern].index(describe(name).pattern), name))


def shown(value: float | None) -> str:
    """A figure with three significant digits; a dash when there is none."""
    if value is None:
        return "-"
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:#.3g}".rstrip(".")
