"""The stage train_denoiser: `python -m tasks.train.denoiser` makes data/weights/denoiser and its curves."""

from pathlib import Path

from models.learners.denoiser import DenoiserLearner
from models.training.state import network_tensors
from tasks.common.inputs import stage_inputs
from tasks.common.params import Params
from tasks.common.runtime import prepare
from tasks.preprocess.dataset import open_prepared
from tasks.train.loop import run_training, trained, write_result


def main(params: Params, resume: Path | None = None) -> dict[str, object]:
    """Trains on data/prepared and writes the network; returns the receipt's facts."""
    prepared, inputs = open_prepared(), stage_inputs("train_denoiser")
    manifest = prepared.manifest
    learner = DenoiserLearner(params.train_denoiser, manifest.size, manifest.channels, prepare(params))
    with trained("train_denoiser", learner, prepared, inputs, params, resume) as training:
        tensors = network_tensors({"denoiser": learner.denoiser})
        write_result("denoiser", tensors, learner.config, inputs, prepared, training)
    return training.facts()


if __name__ == "__main__":
    run_training("train_denoiser", main)
