"""The stage train_gan: `python -m tasks.train.gan` makes data/weights/gan and data/curves/gan.csv."""

from models.learners.gan import GanLearner, augments
from models.state import network_tensors
from tasks.console import run_stage
from tasks.inputs import stage_inputs
from tasks.params import load_params
from tasks.prepared import open_prepared
from tasks.runtime import prepare
from tasks.sketches import sketch_gan
from tasks.training import label_count, trained, write_result


def main() -> dict[str, object]:
    """Trains on data/prepared and keeps the averaged generator; returns what the receipt keeps."""
    params, prepared, inputs = load_params(), open_prepared(), stage_inputs("train_gan")
    mode, manifest = prepare(params), prepared.manifest
    classes = label_count(params.train_gan.conditional, prepared)
    augmented = augments(params.train_gan.augment, manifest.splits["train"].count)
    print(f"augmentation: {'DiffAugment' if augmented else 'none'}, flip {params.train_gan.flip}", flush=True)
    learner = GanLearner(params.train_gan, manifest.size, manifest.channels, mode, classes, augmented)
    with trained("train_gan", learner, prepared, inputs, lambda: sketch_gan(learner)) as training:
        tensors = network_tensors({"generator": learner.average.network})
        write_result("gan", tensors, learner.shape, inputs, prepared, training.clock)
    return training.facts() | {"mode": mode.name, "threads": params.threads}


if __name__ == "__main__":
    run_stage("train_gan", main)
