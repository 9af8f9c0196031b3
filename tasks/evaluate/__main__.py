"""The stages evaluate_gan and evaluate_vae: `python -m tasks.evaluate gan|vae` judges the file that ships.

Images are drawn from data/onnx by ONNX Runtime, turned into bytes as a consumer would, and compared with real ones on
the features of two judges; real images take the same test and give the floor. The file's variants must draw the same.
data/metrics has the figures, for `dvc metrics`; data/judged has beside them the intervals, the floors, the protocols,
the labels and the variants. The receipt says on what kind of device images were drawn and looked at, which is no input
and moves figures by rounding alone.
"""

import argparse
from pathlib import Path

from tasks.common.cli import run_stage
from tasks.common.files import replacing, write_json
from tasks.common.model_names import MODELS
from tasks.common.params import Params
from tasks.common.runtime import prepare_judging
from tasks.evaluate.accuracy import accuracy_scores
from tasks.evaluate.pictures import draw_pictures
from tasks.evaluate.results import Judgement, judgement
from tasks.evaluate.sampling import Drawing, look
from tasks.evaluate.scores import by_class, memorised, strangest
from tasks.evaluate.variants import variant_figures
from tasks.export.session import session
from tasks.metrics.intervals import share_interval
from tasks.preprocess.dataset import open_prepared
from tasks.reference.statistics import load_yardsticks

ONNX, METRICS, JUDGED, SAMPLES = (Path("data") / name for name in ("onnx", "metrics", "judged", "samples"))


def evaluate(model: str, params: Params) -> dict[str, object]:
    """Writes data/metrics/MODEL.json, data/judged/MODEL.json and data/samples/MODEL; returns the figures."""
    prepared, device, settings = open_prepared(), prepare_judging(params), params.evaluate
    first, second = load_yardsticks(settings, prepared.hash, device)
    running = session(ONNX / model / f"{model}.onnx", params.threads, device)
    drawing = Drawing(running, settings, prepared.train_counts)
    features, others = look((first.judge, second.judge), drawing, settings.n_images, "judging generated images")
    near = memorised(features, first.real)
    found, beside = judgement(first, features, settings), judgement(second, others, settings)
    found.add({"memorised": share_interval(near.share, len(features)), "memorised_p": near.p_value})
    if drawing.told:
        score, floor = accuracy_scores(drawing, prepared, params, device)
        found.add({"accuracy_score": score})
        found.floor["accuracy_score"] = floor.estimate
    with replacing(SAMPLES / model) as folder:
        folder.mkdir()
        if model == "vae":
            from tasks.evaluate.vae import vae_figures  # whose libraries take as long to import as all others

            found.add(vae_figures(first, prepared, params, folder))
        draw_pictures(folder, drawing, strangest(features, first.real), near, prepared, settings.grid)
    labels = drawing.labels if drawing.told else first.judge.labels(features)
    classes = by_class(features, labels, first.real, prepared.manifest.labels)
    about = {"model": model, "classes": classes, "memorises": near.flagged, "second": beside.record()}
    about["variants"] = variant_figures(ONNX / model, drawing, first, prepared, params)
    write_json(JUDGED / f"{model}.json", found.record() | about)
    write_json(METRICS / f"{model}.json", found.figures | {"second": beside.figures})
    _print(found)
    return {"figures": found.figures, "device": device.type}


def _print(found: Judgement) -> None:
    for name, value in found.figures.items():
        real = f"(real images {found.floor[name]:g})" if name in found.floor else ""
        print(f"{name:32s} {value:<10g} {real}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", choices=MODELS)
    chosen = parser.parse_args().model
    run_stage(f"evaluate_{chosen}", lambda params: evaluate(chosen, params))
