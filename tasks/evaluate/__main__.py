"""The stages evaluate_gan and evaluate_vae: `python -m tasks.evaluate gan|vae` evaluates the file that ships.

ONNX Runtime generates images with the file in data/onnx. They are converted to bytes, as a user of the file would do,
and compared with real images by the features of two evaluators. The same metrics of real training images, called the
floor, show what a perfect generator would reach. The file's variants must generate the same images as the file.
data/metrics has the metrics, for `dvc metrics`; data/evaluation adds intervals, floors, protocols, labels and variants.
The receipt names the kind of device. The device is not an input of the stage, because it changes metrics by rounding
only.
"""

import argparse
from pathlib import Path

from tasks.common.cli import run_stage
from tasks.common.files import replacing, write_json
from tasks.common.model_names import MODELS, own_module
from tasks.common.params import Params
from tasks.common.runtime import prepare_evaluation
from tasks.evaluate.accuracy import accuracy_scores
from tasks.evaluate.results import compute_results
from tasks.evaluate.sampling import ExportedGenerator, extract_features, write_image_grids
from tasks.evaluate.scores import farthest_first, metrics_by_class
from tasks.evaluate.variants import variant_metrics
from tasks.export.session import session
from tasks.metrics.intervals import share_interval
from tasks.preprocess.dataset import open_prepared
from tasks.reference.statistics import load_statistics_of_both

ONNX, METRICS, EVALUATION, SAMPLES = (Path("data") / name for name in ("onnx", "metrics", "evaluation", "samples"))


def evaluate(model: str, params: Params) -> dict[str, object]:
    """Writes data/metrics/MODEL.json, data/evaluation/MODEL.json and data/samples/MODEL; returns receipt facts."""
    prepared, device, settings = open_prepared(), prepare_evaluation(params), params.evaluate
    first, second = load_statistics_of_both(settings, prepared.hash, device)
    model_session = session(ONNX / model / f"{model}.onnx", params.threads, device)
    generator = ExportedGenerator(model_session, settings, prepared.train_counts)
    features, others = extract_features(
        (first.evaluator, second.evaluator), generator.gather, settings.n_images, "evaluating generated images"
    )
    near = first.real.memorisation_test(features)
    found, beside = compute_results(first, features, settings), compute_results(second, others, settings)
    found.add({"memorised": share_interval(near.share, len(features)), "memorised_p": near.p_value})
    if generator.conditional:
        score, floor = accuracy_scores(generator, prepared, params, device)
        found.add({"accuracy_score": score})
        found.floor["accuracy_score"] = floor.estimate
    with replacing(SAMPLES / model) as folder:
        folder.mkdir()
        if own := own_module("tasks.evaluate", model):
            found.add(own.own_metrics(first, prepared, params, folder))
        write_image_grids(folder, generator, farthest_first(features, first.real), near, prepared, settings.grid)
    labels = generator.labels if generator.conditional else first.evaluator.labels(features)
    classes = metrics_by_class(features, labels, first.real, prepared.manifest.labels)
    about = {"model": model, "classes": classes, "memorises": near.flagged, "second": beside.record()}
    about["variants"] = variant_metrics(ONNX / model, generator, first, prepared, params)
    write_json(EVALUATION / f"{model}.json", found.record() | about)
    write_json(METRICS / f"{model}.json", found.metrics | {"second": beside.metrics})
    for name, value in found.metrics.items():
        real = f"(real images {found.floor[name]:g})" if name in found.floor else ""
        print(f"{name:32s} {value:<10g} {real}", flush=True)
    return {"metrics": found.metrics, "device": device.type}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", choices=MODELS)
    chosen = parser.parse_args().model
    run_stage(f"evaluate_{chosen}", lambda params: evaluate(chosen, params))
