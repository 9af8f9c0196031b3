"""What it takes to judge a model, beside the library people use: `python bench/judging.py [--json FILE]`.

In a temporary clone of the last commit, on Fashion-MNIST: both stages `evaluate`, with all they do for
`evaluate.n_images` = 10,000 images, two judges and every interval, by their receipts. Their networks are trained for
moments alone, since how long judging takes does not depend on how good they are. Then, in this process and on the same
features, our Frechet and kernel distances, precision and recall beside those of torch-fidelity 0.4: seconds of each,
and how far the figures are apart.

Needs the checkout's .venv; ten minutes on two cores.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from checkouts import ROOT, Checkout, cloned
from rows import Row, at_most, publish
from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_features_to_statistics, fid_statistics_to_metric
from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN, kid_features_to_metric
from torch_fidelity.metric_prc import calculate_precision_recall_part

sys.path.insert(0, str(ROOT))

from tasks.judge import REFERENCE
from tasks.metrics.frechet import Moments, frechet_distance
from tasks.metrics.kernel import kernel_distance
from tasks.metrics.neighbours import neighbour_scores
from tasks.params import load_params
from tasks.runtime import limit_threads
from tasks.yardstick import load_yardstick

MOMENTS = {"train_gan.stop.n_images": 6400, "train_vae.stop.n_images": 6400, "train_vae.prior_steps": 50}
SECONDS, MEMORY = 120, 4096  # MiB
AGREEMENT = 1e-4
NEIGHBOURS, SUBSETS, SUBSET = 3, 100, 1000
KERNEL = {"kid_kernel": "poly", "kid_kernel_poly_degree": 3, "kid_kernel_poly_gamma": None, "kid_kernel_poly_coef0": 1}


def main() -> None:
    """Measures, prints a table and writes the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    file = given.json and given.json.resolve()
    with cloned() as [clone]:
        clone.set_params(MOMENTS)
        clone.must("-m", "tasks.ingest", "fashion-mnist")
        clone.must("-m", "dvc", "--wait-for-lock", "repro", "evaluate_gan", "evaluate_vae")
        os.chdir(clone.path)
        rows = [row for stage in ("evaluate_gan", "evaluate_vae") for row in whole(clone, stage)]
        rows += beside()
        os.chdir(ROOT)
    rows.append(at_most("everything on 50,000 images with an H100", None, 15, "s"))
    publish(rows, file)


def whole(clone: Checkout, stage: str) -> list[Row]:
    """What a stage's receipt says."""
    [receipt] = (clone / ".work/receipts" / stage).glob("*.json")
    said = json.loads(receipt.read_text(encoding="utf-8"))
    return [
        at_most(f"{stage}, 10,000 images", said["seconds"], SECONDS, "s"),
        at_most("    peak memory", said["peak_mib"], MEMORY, "MiB"),
    ]


def beside() -> list[Row]:
    """Ours and torch-fidelity's, on training images' features against test images'."""
    params = load_params()
    limit_threads(params.threads)
    real = load_yardstick(REFERENCE, params.evaluate).real
    first, second = (np.float64(each[:10_000]) for each in (real.train, real.test))
    rows = []
    for name, ours, theirs in (
        ("Frechet distance", lambda: frechet(first, second), lambda: their_frechet(first, second)),
        ("kernel distance, 100 x 1,000", lambda: kernel(first, second), lambda: their_kernel(first, second)),
        ("precision and recall, k = 3", lambda: shares(first, second), lambda: their_shares(first, second)),
    ):
        (mine, seconds), (other, others_seconds) = timed(ours), timed(theirs)
        rows.append(Row(f"{name}: ours", seconds, "s"))
        rows.append(Row("    torch-fidelity's", others_seconds, "s"))
        if not name.startswith("kernel"):  # whose subsets are drawn anew by each
            apart = max(abs(a - b) / abs(b) for a, b in zip(mine, other, strict=True))
            rows.append(at_most("    apart, relative", apart, AGREEMENT))
    return rows


def timed(measure: Callable[[], list[float]]) -> tuple[list[float], float]:
    """The figures and the seconds."""
    start = time.perf_counter()
    return measure(), time.perf_counter() - start


def frechet(generated: np.ndarray, real: np.ndarray) -> list[float]:
    """Ours."""
    return [frechet_distance(Moments.of(generated), Moments.of(real))]


def their_frechet(generated: np.ndarray, real: np.ndarray) -> list[float]:
    """torch-fidelity's."""
    first, second = (fid_features_to_statistics(torch.from_numpy(each)) for each in (generated, real))
    return [fid_statistics_to_metric(first, second, verbose=False)[KEY_METRIC_FID]]


def kernel(generated: np.ndarray, real: np.ndarray) -> list[float]:
    """Ours."""
    return [kernel_distance(generated, real, subsets=SUBSETS, subset_size=SUBSET, seed=0).mean]


def their_kernel(generated: np.ndarray, real: np.ndarray) -> list[float]:
    """torch-fidelity's."""
    how = {"kid_subsets": SUBSETS, "kid_subset_size": SUBSET, "verbose": False, **KERNEL}
    return [kid_features_to_metric(torch.from_numpy(generated), torch.from_numpy(real), **how)[KEY_METRIC_KID_MEAN]]


def shares(generated: np.ndarray, real: np.ndarray) -> list[float]:
    """Ours."""
    found = neighbour_scores(generated, real, NEIGHBOURS)
    return [found.precision, found.recall]


def their_shares(generated: np.ndarray, real: np.ndarray) -> list[float]:
    """torch-fidelity's."""
    return list(calculate_precision_recall_part(torch.from_numpy(generated), torch.from_numpy(real), NEIGHBOURS, 1000))


if __name__ == "__main__":
    main()
