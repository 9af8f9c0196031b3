"""How good the preset `quick` is: `python bench/quick.py [--seeds 0 1 2] [--json FILE]`, on Fashion-MNIST, in a clone.

Trains the GAN and the VAE once per seed and prints the median of what the evaluation stages wrote; the peers are the
same judge's figures for real training images (the floor) and for the VAE without its fitted prior. Data and the judge
are made once. Needs the checkout's .venv; about ten minutes per seed on two cores.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from rows import Row, at_least, at_most, publish
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[1]
# figure, model, name in data/metrics, bound and its kind
REQUIRED = [
    ("GAN fd_relative", "gan", "fd_relative", 0.06, at_most),
    ("GAN coverage", "gan", "coverage", 0.55, at_least),
    ("VAE fd_relative", "vae", "fd_relative", 0.10, at_most),
]


def main() -> None:
    """Measures, prints a table and writes the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        clone = Path(place) / "imagewright"
        subprocess.run(["git", "clone", "-q", str(ROOT), str(clone)], check=True)
        run(clone, "-m", "tasks.ingest", "fashion-mnist")
        measured = [measure(clone, seed) for seed in given.seeds]
        judge = json.loads((clone / "data/reference/judge.json").read_text())
    publish([*table(measured), *judge_rows(judge)], given.json)


def run(clone: Path, *arguments: str) -> None:
    """Runs this interpreter in the clone, its folder first on PATH."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    subprocess.run([sys.executable, *arguments], cwd=clone, env=os.environ | {"PATH": path}, check=True)


def measure(clone: Path, seed: int) -> dict[str, Any]:
    """Trains and judges both models with one seed; the metrics files by model."""
    yaml, params = YAML(), clone / "params.yaml"
    values = yaml.load(params)
    values["train_gan"]["seed"] = values["train_vae"]["seed"] = seed
    yaml.dump(values, params)
    run(clone, "-m", "dvc", "--wait-for-lock", "repro", "evaluate_gan", "evaluate_vae")
    return {model: json.loads((clone / f"data/metrics/{model}.json").read_text()) for model in ("gan", "vae")}


def table(measured: list[dict[str, Any]]) -> list[Row]:
    """The required figures as medians over seeds, each seed's value below its median."""
    rows = []
    for title, model, name, bound, judged in REQUIRED:
        values = [metrics[model]["figures"][name] for metrics in measured]
        rows.append(judged(f"{title}, median of {len(values)} seeds", statistics.median(values), bound))
        rows += [Row(f"    run {run}", value) for run, value in enumerate(values, start=1)]
        rows.append(Row("    real training images", measured[0][model]["floor"][name]))
    figures = [metrics["vae"]["figures"] for metrics in measured]
    shares = [figure["fd_relative"] / figure["fd_relative_standard_prior"] for figure in figures]
    return [*rows, at_most("VAE fitted prior / N(0, I)", statistics.median(shares), 0.5)]


def judge_rows(judge: dict[str, Any]) -> list[Row]:
    """Whether the judge is fit to judge."""
    checks = judge["checks"]
    spoilt = min(checks["blurred"], checks["missing_class"])
    return [
        at_least("judge accuracy", judge["accuracy"], 0.92),
        at_most("judge on held-out images", checks["held_out"], 0.002),
        at_least("judge on spoilt / held-out images", spoilt / checks["held_out"], 10),
    ]


if __name__ == "__main__":
    main()
