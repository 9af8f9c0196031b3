"""Measures whether a repeated training gives the same bits: `python bench/repeat.py [--json FILE]`.

In a temporary clone, on scikit-learn's digits and on the device that `auto` finds, the evaluator, the GAN and the VAE
of `quick`, shortened, are trained from scratch twice, with `deterministic` on and off. Bits must be equal where it is
on, and on a CPU always; the table also says how far apart the weights of the two runs are. Needs the checkout's .venv;
two and a half minutes on two cores.
"""

import sys

import torch
from arguments import parse, parser
from checkouts import ROOT, Checkout, cloned
from resume import TRAININGS, Trained, wipe, written
from rows import Row, at_least, publish

sys.path.insert(0, str(ROOT))

from tasks.common.tensors import load_tensors

SHORT = {
    "reference.stop.n_images": 25600,
    "train_gan.stop.n_images": 9600,
    "train_vae.stop.n_images": 25600,
    "train_vae.prior_steps": 200,
}
WEIGHTS = {
    "reference": "data/reference/network.safetensors",
    "train_gan": "data/weights/gan/weights.safetensors",
    "train_vae": "data/weights/vae/weights.safetensors",
}
SWITCHES = ("on", "off")  # values of `deterministic`
Outcome = tuple[bool, float]


def main() -> None:
    """Measures, prints a table and writes the JSON."""
    given = parse(parser(__doc__))
    rows = []
    with cloned(tiny=given.tiny) as [clone]:
        clone.set_params(SHORT)
        clone.ingest("digits")
        clone.must("-m", "tasks.preprocess")
        for switch in SWITCHES[: 1 if given.tiny else None]:
            clone.set_params({"deterministic": switch})
            outcomes = {training.stage: twice(clone, training) for training in TRAININGS}
            rows += table(switch, outcomes)
    publish(rows, given.json)


def twice(clone: Checkout, training: Trained) -> Outcome:
    """Returns whether all files are equal, and the largest relative distance between two tensors."""
    made, weights = [], []
    for _ in range(2):
        wipe(clone, training)
        clone.must("-m", training.module)
        made.append(written(clone, training))
        weights.append(load_tensors(clone / WEIGHTS[training.stage])[0])
    return made[0] == made[1], max(apart(weights[0][name], weights[1][name]) for name in weights[0])


def apart(first: torch.Tensor, second: torch.Tensor) -> float:
    """Returns |a - b| / |b|."""
    return float((first.double() - second.double()).norm() / second.double().norm().clamp_min(1e-12))


def table(switch: str, outcomes: dict[str, Outcome]) -> list[Row]:
    """Returns the rows; equal bits are required where `deterministic` is on, and on a CPU always."""
    equal, title = sum(same for same, _ in outcomes.values()), f"deterministic: {switch}, same bits"
    bound = len(outcomes) if switch == "on" or not torch.cuda.is_available() else 0
    count = f"of {len(outcomes)}"
    rows = [at_least(title, equal, bound, count) if bound else Row(title, equal, count)]
    return rows + [Row(f"    {stage}, weights apart", distance) for stage, (_, distance) in outcomes.items()]


if __name__ == "__main__":
    main()
