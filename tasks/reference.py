"""The stage `reference`: trains the feature network that judges and keeps what it says of the real images.

data/reference then holds the network, its features of held-out and of training images, the moments of all training
images, and judge.json: how good the network is and what it does and does not notice.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from scipy.ndimage import gaussian_filter

from models.learners.classifier import ClassifierLearner
from tasks.console import Progress, run_stage
from tasks.errors import UserError
from tasks.files import replacing, write_json
from tasks.inputs import stage_inputs
from tasks.judge import REFERENCE, Judge
from tasks.metrics.frechet import Moments, relative_frechet_distance
from tasks.params import load_params
from tasks.prepared import Prepared, Split, open_prepared
from tasks.runtime import StopSignals, prepare
from tasks.training import trained
from tasks.weights import save_tensors

KEPT, KEPT_TRAIN = 10_000, 200_000  # test and training images whose features are kept
BLOCK = 5_000
LEAST_ACCURACY, MOST_HELD_OUT, LEAST_RATIO = 0.92, 0.002, 10.0


def main() -> dict[str, object]:
    """Trains the judge, lets it look at the real images, and says whether its distances count."""
    params, prepared, inputs = load_params(), open_prepared(), stage_inputs("reference")
    mode, manifest = prepare(params), prepared.manifest
    try:
        learner = ClassifierLearner(params.reference, manifest.channels, len(manifest.labels), mode)
    except ValueError as error:
        raise UserError(f"params.yaml: {error}") from None
    with trained("reference", learner, prepared, inputs) as training:
        accuracy = learner.accuracy(prepared.split("test"))
        judge = Judge(learner.classifier)
        with replacing(REFERENCE) as folder:
            folder.mkdir()
            save_tensors(folder / "classifier.safetensors", learner.classifier.state_dict(), _about(learner))
            verdict = _look(judge, prepared, folder, training.stop) | {
                "accuracy": round(accuracy, 4),
                "network": learner.shape.task,
            }
            verdict["counts"] = _counts(verdict)
            write_json(folder / "judge.json", verdict)
    print(f"judge: {verdict}", flush=True)
    return training.facts() | {"mode": mode.name, "threads": params.threads}


def _about(learner: ClassifierLearner) -> dict[str, object]:
    return {"model": "classifier", "shape": learner.shape.model_dump()}


def _look(judge: Judge, prepared: Prepared, folder: Path, stop: StopSignals) -> dict[str, object]:
    """Writes features and moments of the real images; returns the judge's view of spoilt ones, against all of train."""
    train, test = prepared.split("train"), prepared.split("test")
    with Progress(len(train) + 2 * len(test), "looking at the real images") as shown:

        def seen(images: int) -> None:
            shown.advance(images)
            stop.check()

        train_features = _features(judge, train, seen)
        test_features = _features(judge, test, seen)
        blurred = _features(judge, test, seen, blur)
    moments = Moments.of(train_features)
    tensors = {
        "test": test_features[:KEPT],
        "train": train_features[_some(len(train_features))],
        **({} if test.labels is None else {"test_labels": test.labels[:KEPT]}),
        "train_mean": moments.mean,
        "train_covariance": moments.covariance,
        "train_count": np.array(moments.count),
    }
    save_tensors(
        folder / "features.safetensors",
        {name: torch.from_numpy(value) for name, value in tensors.items()},
        {"prepared": prepared.hash},
    )

    def distance(features: np.ndarray) -> float:
        return _figure(relative_frechet_distance(Moments.of(features), moments))

    checks = {"held_out": distance(test_features), "blurred": distance(blurred)}
    if test.labels is not None:
        robbed = (test_features[test.labels != label] for label in np.unique(test.labels))
        checks["missing_class"] = min(distance(features) for features in robbed)
    return {"checks": checks}


def _features(
    judge: Judge,
    split: Split,
    seen: Callable[[int], None],
    change: Callable[[np.ndarray], np.ndarray] | None = None,
) -> np.ndarray:
    parts = []
    for images in split.blocks(BLOCK):
        parts.append(judge.features(images if change is None else change(images)))
        seen(len(images))
    return np.concatenate(parts)


def blur(images: np.ndarray) -> np.ndarray:
    """Images uint8 [N, C, H, W] under a Gaussian of sigma 1 pixel; edges mirrored."""
    return np.clip(np.rint(gaussian_filter(images.astype(np.float32), (0, 0, 1, 1))), 0, 255).astype(np.uint8)


def _some(count: int) -> np.ndarray:
    """At most KEPT_TRAIN row numbers, drawn with a fixed seed, in order."""
    return np.sort(np.random.default_rng(0).permutation(count)[:KEPT_TRAIN])


def _counts(verdict: dict[str, object]) -> bool:
    """Whether figures in this judge's features are to be believed: it knows the classes, and sees what people see."""
    checks, accuracy = verdict["checks"], verdict["accuracy"]
    assert isinstance(checks, dict) and isinstance(accuracy, float)
    spoilt = [value for name, value in checks.items() if name != "held_out"]
    return (
        accuracy >= LEAST_ACCURACY
        and checks["held_out"] <= MOST_HELD_OUT
        and min(spoilt) >= LEAST_RATIO * checks["held_out"]
    )


def _figure(value: float) -> float:
    return float(f"{value:.6g}")


if __name__ == "__main__":
    run_stage("reference", main)
