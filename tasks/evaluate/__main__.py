"""The stages evaluate_gan and evaluate_vae: `python -m tasks.evaluate gan|vae` judges the file that ships.

Images are drawn from data/onnx by ONNX Runtime, turned into bytes as a consumer would, and compared with real ones on
the judge's features; real images take the same test and give the floor.
"""

import argparse
from pathlib import Path

import numpy as np

from tasks.console import run_stage
from tasks.evaluate.drawing import Drawing, look
from tasks.evaluate.vae import vae_figures
from tasks.files import replacing, write_json
from tasks.judge import Judge, load_judge
from tasks.metrics.memorisation import Memorisation
from tasks.onnx_session import session
from tasks.params import EvaluateSettings, load_params
from tasks.pictures import grid, paired, write_png
from tasks.prepared import Prepared, open_prepared
from tasks.runtime import limit_threads
from tasks.scores import by_class, load_real, memorised, protocol, real_floor, rounded, score

ONNX, METRICS, SAMPLES = Path("data/onnx"), Path("data/metrics"), Path("data/samples")
PAIRS = 16  # generated images that are shown beside the training image they come nearest to


def evaluate(model: str) -> dict[str, object]:
    """Writes data/metrics/MODEL.json and data/samples/MODEL; returns the figures."""
    params, prepared, real = load_params(), open_prepared(), load_real()
    limit_threads(params.threads)
    judge, network = load_judge()
    settings = params.evaluate
    drawing = Drawing(session(ONNX / model / f"{model}.onnx", params.threads), settings, prepared.train_counts)
    with replacing(SAMPLES / model) as folder:
        folder.mkdir()
        features = look(judge, drawing, settings.n_images, "judging generated images")
        near = memorised(features, real)
        figures = score(features, real, settings) | rounded({"memorised": near.share, "memorised_p": near.p_value})
        if model == "vae":
            figures |= vae_figures(judge, real, prepared, params, folder)
        _draw_pictures(folder, drawing, near, prepared, settings)
    record = {
        "model": model,
        "figures": figures,
        "floor": real_floor(real, settings),
        "classes": by_class(features, _labels(judge, drawing, features), real, prepared.manifest.labels),
        "memorises": near.flagged,
        "protocol": protocol(real, network, settings),
    }
    write_json(METRICS / f"{model}.json", record)
    _print(record)
    return {"figures": figures}


def _labels(judge: Judge, drawing: Drawing, features: np.ndarray) -> np.ndarray | None:
    """Labels int64 [N] that the images were told, or else that the judge reads off them, if it knows labels."""
    return drawing.labels if drawing.told else judge.labels(features)


def _draw_pictures(
    folder: Path, drawing: Drawing, near: Memorisation, prepared: Prepared, settings: EvaluateSettings
) -> None:
    """Grids of generated images, of real ones, and of those pairs that come nearest to being copies."""
    test, train = prepared.split("test"), prepared.split("train")
    write_png(folder / "grid.png", grid(drawing.grid(), settings.grid))
    write_png(folder / "real.png", grid(test.gather(np.arange(min(settings.grid**2, len(test)))), settings.grid))
    rows = np.argsort(near.nearness, kind="stable")[:PAIRS]
    write_png(folder / "nearest.png", grid(paired(drawing(rows), train.gather(near.nearest[rows])), 8))


def _print(record: dict[str, object]) -> None:
    figures, floor = record["figures"], record["floor"]
    assert isinstance(figures, dict) and isinstance(floor, dict)
    for name, value in figures.items():
        print(f"{name:32s} {value:<10g} {'' if name not in floor else f'(real images {floor[name]:g})'}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", choices=["gan", "vae"])
    chosen = parser.parse_args().model
    run_stage(f"evaluate_{chosen}", lambda: evaluate(chosen))
