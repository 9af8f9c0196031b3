"""Measures the time and memory of an evaluation: `python bench/evaluation.py [--json FILE]`.

In a temporary clone of the last commit, on Fashion-MNIST, both `evaluate` stages run on the CPU with 10,000 images
(`evaluate.n_images`), two evaluators and all confidence intervals; their receipts give time and memory. Where there is
an NVIDIA GPU, the GAN is evaluated there too and its distances are compared with those of the CPU; then both models are
evaluated with 50,000 images, timed from the start of the process to its end. Generators and evaluators are trained only
briefly, on the GPU where there is one, since the time does not depend on their quality. In this process, on the same
features, Frechet distance, kernel distance, precision and recall are compared with those of torch-fidelity 0.4: the
seconds of each, and how far the values are apart.

Needs the checkout's .venv, and no network with `--from data/raw` where that holds Fashion-MNIST; ten minutes on two
cores.
"""

import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from arguments import parse, parser
from checkouts import ROOT, Checkout, cloned
from rows import Row, at_most, publish
from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_features_to_statistics, fid_statistics_to_metric
from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN, kid_features_to_metric
from torch_fidelity.metric_prc import calculate_precision_recall_part

sys.path.insert(0, str(ROOT))

from tasks.common.params import load_params
from tasks.common.runtime import limit_threads
from tasks.metrics.frechet import Moments, frechet_distance
from tasks.metrics.kernel import kernel_distance
from tasks.metrics.neighbours import membership
from tasks.reference.protocol import REFERENCE
from tasks.reference.statistics import load_statistics

BRIEF = {
    "reference.stop.n_images": 32_000,
    "reference_second.stop.n_images": 32_000,
    "train_gan.stop.n_images": 6400,
    "train_vae.stop.n_images": 6400,
    "train_vae.prior_steps": 50,
}
MODELS = ("gan", "vae")
EVALUATORS = ("preprocess", "reference", "reference_second")
SECONDS, MEMORY = 120, 4096  # MiB
MANY, GPU_SECONDS, RUNS = 50_000, 15, 3
AGREEMENT = 1e-4
NEIGHBOURS, SUBSETS, SUBSET = 3, 100, 1000
Found = TypeVar("Found")
KERNEL = {"kid_kernel": "poly", "kid_kernel_poly_degree": 3, "kid_kernel_poly_gamma": None, "kid_kernel_poly_coef0": 1}


def main() -> None:
    """Measures, prints a table and writes the JSON."""
    made = parser(__doc__)
    made.add_argument("--from", dest="given", type=Path, metavar="FOLDER", help="a folder that has Fashion-MNIST")
    given = parse(made)
    with cloned(tiny=given.tiny) as [clone]:
        models = MODELS[:1] if given.tiny else MODELS
        prepare(clone, given.given, models)
        os.chdir(clone.path)
        rows = [row for model in models for row in whole(clone, model)]
        rows += beside(100 if given.tiny else SUBSET)
        rows += on_a_gpu(clone, models) if torch.cuda.is_available() else [gpu_row("a GPU", None)]
        os.chdir(ROOT)
    publish(rows, given.json)


def prepare(clone: Checkout, folder: Path | None, models: Sequence[str]) -> None:
    """Makes all inputs of the evaluation, on the device that `auto` finds."""
    clone.set_params(BRIEF)
    clone.ingest("fashion-mnist", folder)
    clone.make(*EVALUATORS, *(f"{what}_{model}" for model in models for what in ("train", "export")))


def whole(clone: Checkout, model: str) -> list[Row]:
    """Returns the time and memory of a stage on the CPU, from its receipt."""
    clone.set_params({"device": "cpu"})
    clone.must("-m", "tasks.evaluate", model)
    [receipt] = (clone / ".work/receipts" / f"evaluate_{model}").glob("*.json")
    record = json.loads(receipt.read_text(encoding="utf-8"))
    images = load_params(clone / "params.yaml").evaluate.n_images
    return [
        at_most(f"evaluate_{model}, {images:,} images", record["seconds"], SECONDS, "s"),
        at_most("    peak memory", record["peak_mib"], MEMORY, "MiB"),
    ]


def on_a_gpu(clone: Checkout, models: Sequence[str]) -> list[Row]:
    """Returns the seconds of a whole process with 50,000 images, and how far distances are from the CPU's."""
    before = distances(clone)
    clone.set_params({"device": "cuda"})
    clone.must("-m", "tasks.evaluate", "gan")
    apart = max(abs(value - before[name]) / before[name] for name, value in distances(clone).items())
    clone.set_params({"evaluate.n_images": MANY})
    took = [seconds(clone, "gan") for _ in range(RUNS)]
    others = [seconds(clone, model) for model in models if model != "gan"]
    return [
        gpu_row(torch.cuda.get_device_name(), statistics.median(took)),
        Row(f"    the first of the {RUNS} runs whose median that is", took[0], "s"),
        *(Row("    the VAE, with its reconstructions and bounds", each, "s") for each in others),
        at_most("    the GAN's Frechet distances, GPU from CPU, relative", apart, AGREEMENT),
    ]


def seconds(clone: Checkout, model: str) -> float:
    """Returns the seconds of a whole process that evaluates the model."""
    return timed(lambda: clone.must("-m", "tasks.evaluate", model))[1]


def gpu_row(where: str, took: float | None) -> Row:
    """Returns the row that needs a GPU."""
    return at_most(f"evaluating 50,000 images, a whole process, on {where}", took, GPU_SECONDS, "s")


def distances(clone: Checkout) -> dict[str, float]:
    """Returns the GAN's Frechet distances with the first evaluator."""
    found = json.loads((clone / "data/metrics/gan.json").read_text(encoding="utf-8"))
    return {name: value for name, value in found.items() if name.startswith("fd_")}


def beside(subset: int) -> list[Row]:
    """Compares our metrics with torch-fidelity's, on features of training images against features of test images."""
    params = load_params()
    limit_threads(params.threads)
    real = load_statistics(REFERENCE, params.evaluate).real
    first, second = (np.float64(each[:10_000]) for each in (real.train, real.test))
    rows = []
    for name, ours, theirs in (
        ("Frechet distance", lambda: frechet(first, second), lambda: their_frechet(first, second)),
        (
            f"kernel distance, {SUBSETS} x {subset:,}",
            lambda: kernel(first, second, subset),
            lambda: their_kernel(first, second, subset),
        ),
        ("precision and recall, k = 3", lambda: shares(first, second), lambda: their_shares(first, second)),
    ):
        (mine, seconds), (other, others_seconds) = timed(ours), timed(theirs)
        rows.append(Row(f"{name}: ours", seconds, "s"))
        rows.append(Row("    torch-fidelity's", others_seconds, "s"))
        if not name.startswith("kernel"):  # each library draws its own subsets
            apart = max(abs(a - b) / abs(b) for a, b in zip(mine, other, strict=True))
            rows.append(at_most("    apart, relative", apart, AGREEMENT))
    return rows


def timed(measure: Callable[[], Found]) -> tuple[Found, float]:
    """Returns the result of a call and its seconds."""
    start = time.perf_counter()
    return measure(), time.perf_counter() - start


def frechet(generated: np.ndarray, real: np.ndarray) -> list[float]:
    """Returns our Frechet distance."""
    return [frechet_distance(Moments.of(generated), Moments.of(real))]


def their_frechet(generated: np.ndarray, real: np.ndarray) -> list[float]:
    """Returns torch-fidelity's Frechet distance."""
    first, second = (fid_features_to_statistics(torch.from_numpy(each)) for each in (generated, real))
    return [fid_statistics_to_metric(first, second, verbose=False)[KEY_METRIC_FID]]


def kernel(generated: np.ndarray, real: np.ndarray, subset: int) -> list[float]:
    """Returns our kernel distance."""
    return [kernel_distance(generated, real, subsets=SUBSETS, subset_size=subset, seed=0).mean]


def their_kernel(generated: np.ndarray, real: np.ndarray, subset: int) -> list[float]:
    """Returns torch-fidelity's kernel distance."""
    how = {"kid_subsets": SUBSETS, "kid_subset_size": subset, "verbose": False, **KERNEL}
    return [kid_features_to_metric(torch.from_numpy(generated), torch.from_numpy(real), **how)[KEY_METRIC_KID_MEAN]]


def shares(generated: np.ndarray, real: np.ndarray) -> list[float]:
    """Returns our precision and recall."""
    found = membership(generated, real, NEIGHBOURS).scores()
    return [found.precision, found.recall]


def their_shares(generated: np.ndarray, real: np.ndarray) -> list[float]:
    """Returns torch-fidelity's precision and recall."""
    return list(calculate_precision_recall_part(torch.from_numpy(generated), torch.from_numpy(real), NEIGHBOURS, 1000))


if __name__ == "__main__":
    main()
