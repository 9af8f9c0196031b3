"""The stage train_vae: `python -m tasks.train.vae` makes data/weights/vae and data/curves/vae.csv."""

from functools import partial
from pathlib import Path

from models.learners.prior import FIT_BATCH
from models.learners.vae import VaeLearner
from models.networks.prior import FlowPrior
from models.training.state import network_tensors
from tasks.common.cli import Progress
from tasks.common.inputs import stage_inputs
from tasks.common.params import Params
from tasks.common.runtime import prepare
from tasks.preprocess.dataset import Prepared, open_prepared
from tasks.train.loop import Training, label_count, run_training, trained, write_result
from tasks.train.previews import preview_vae


def main(params: Params, resume: Path | None = None) -> dict[str, object]:
    """Trains on data/prepared, fits the prior and writes the EMA networks; returns the receipt's facts."""
    prepared, inputs = open_prepared(), stage_inputs("train_vae")
    mode, manifest = prepare(params), prepared.manifest
    classes = label_count(params.train_vae.conditional, prepared)
    learner = VaeLearner(params.train_vae, manifest.size, manifest.channels, mode, classes)
    preview = partial(preview_vae, learner, prepared.split("validation"))
    with trained("train_vae", learner, prepared, inputs, params, resume, preview) as training:
        networks = {"encoder": learner.ema_encoder.network, "decoder": learner.ema_decoder.network}
        if prior := _fit_prior(learner, prepared, training):
            networks["prior"] = prior
        write_result("vae", network_tensors(networks), learner.config, inputs, prepared, training)
    return training.facts()


def _fit_prior(learner: VaeLearner, prepared: Prepared, training: Training) -> FlowPrior | None:
    with Progress(learner.settings.prior_steps * FIT_BATCH, "fitting the prior", "codes") as shown:

        def on_step(codes: int, nll: float) -> None:
            shown.advance(codes, nll=nll)
            training.stop.check()

        return learner.fit_prior(prepared.split("train"), on_step, training.steps.fall_back)


if __name__ == "__main__":
    run_training("train_vae", main)
