"""The stages evaluate_gan and evaluate_vae: `python -m tasks.evaluate gan|vae` evaluates the file that ships.

ONNX Runtime generates images from data/onnx. They are turned into bytes as a consumer would do it, and compared with
real images on the features of two evaluators. The same metrics of real training images give the floor, and the file's
variants must generate the same images. data/metrics has the metrics, for `dvc metrics`; data/evaluation adds their
intervals, the floors, the protocols, the labels and the variants. The receipt names the kind of device that generated
the images and extracted the features: it is no input, and moves metrics by rounding alone.
"""

import argparse
from pathlib import Path

from tasks.common.cli import run_stage
from tasks.common.files import replacing, write_json
from tasks.common.model_names import MODELS
from tasks.common.params import Params
from tasks.common.runtime import prepare_evaluation
from tasks.evaluate.accuracy import accuracy_scores
from tasks.evaluate.pictures import draw_pictures
from tasks.evaluate.results import EvaluationResults, evaluation
from tasks.evaluate.sampling import Sampling, look
from tasks.evaluate.scores import by_class, memorised, strangest
from tasks.evaluate.variants import variant_metrics
from tasks.export.session import session
from tasks.metrics.intervals import share_interval
from tasks.preprocess.dataset import open_prepared
from tasks.reference.statistics import load_statistics_of_both

ONNX, METRICS, EVALUATION, SAMPLES = (Path("data") / name for name in ("onnx", "metrics", "evaluation", "samples"))


def evaluate(model: str, params: Params) -> dict[str, object]:
    """Writes data/metrics/MODEL.json, data/evaluation/MODEL.json and data/samples/MODEL; returns the figures."""
    prepared, device, settings = open_prepared(), prepare_evaluation(params), params.evaluate
    first, second = load_statistics_of_both(settings, prepared.hash, device)
    running = session(ONNX / model / f"{model}.onnx", params.threads, device)
    drawing = Sampling(running, settings, prepared.train_counts)
    features, others = look((first.evaluator, second.evaluator), drawing, settings.n_images, "judging generated images")
    near = memorised(features, first.real)
    found, beside = evaluation(first, features, settings), evaluation(second, others, settings)
    found.add({"memorised": share_interval(near.share, len(features)), "memorised_p": near.p_value})
    if drawing.told:
        score, floor = accuracy_scores(drawing, prepared, params, device)
        found.add({"accuracy_score": score})
        found.floor["accuracy_score"] = floor.estimate
    with replacing(SAMPLES / model) as folder:
        folder.mkdir()
        if model == "vae":
            from tasks.evaluate.vae import vae_metrics  # whose libraries take as long to import as all others

            found.add(vae_metrics(first, prepared, params, folder))
        draw_pictures(folder, drawing, strangest(features, first.real), near, prepared, settings.grid)
    labels = drawing.labels if drawing.told else first.evaluator.labels(features)
    classes = by_class(features, labels, first.real, prepared.manifest.labels)
    about = {"model": model, "classes": classes, "memorises": near.flagged, "second": beside.record()}
    about["variants"] = variant_metrics(ONNX / model, drawing, first, prepared, params)
    write_json(EVALUATION / f"{model}.json", found.record() | about)
    write_json(METRICS / f"{model}.json", found.figures | {"second": beside.figures})
    _print(found)
    return {"figures": found.figures, "device": device.type}


def _print(found: EvaluationResults) -> None:
    for name, value in found.figures.items():
        real = f"(real images {found.floor[name]:g})" if name in found.floor else ""
        print(f"{name:32s} {value:<10g} {real}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", choices=MODELS)
    chosen = parser.parse_args().model
    run_stage(f"evaluate_{chosen}", lambda params: evaluate(chosen, params))
