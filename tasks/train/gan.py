"""The stage train_gan: `python -m tasks.train.gan` makes data/weights/gan and data/curves/gan.csv."""

from functools import partial
from pathlib import Path

from models.learners.gan import GanLearner, uses_augmentation
from models.training.state import network_tensors
from tasks.common.inputs import stage_inputs
from tasks.common.params import Params
from tasks.common.runtime import prepare
from tasks.preprocess.dataset import open_prepared
from tasks.train.loop import label_count, run_training, trained, write_result
from tasks.train.previews import preview_gan


def main(params: Params, resume: Path | None = None) -> dict[str, object]:
    """Trains on data/prepared and writes the EMA generator; returns the receipt's facts."""
    prepared, inputs = open_prepared(), stage_inputs("train_gan")
    mode, manifest = prepare(params), prepared.manifest
    classes = label_count(params.train_gan.conditional, prepared)
    augmented = uses_augmentation(params.train_gan.augment, manifest.splits["train"].count)
    print(f"augmentation: {'DiffAugment' if augmented else 'none'}, flip {params.train_gan.flip}", flush=True)
    learner = GanLearner(params.train_gan, manifest.size, manifest.channels, mode, classes, augmented)
    preview = partial(preview_gan, learner)
    with trained("train_gan", learner, prepared, inputs, params, resume, preview) as training:
        tensors = network_tensors({"generator": learner.ema.network})
        write_result("gan", tensors, learner.config, inputs, prepared, training)
    return training.facts()


if __name__ == "__main__":
    run_training("train_gan", main)
