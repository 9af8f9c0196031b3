"""The stages evaluate_gan and evaluate_vae: `python -m tasks.evaluate gan|vae` judges the file that ships.

Images are drawn from data/onnx by ONNX Runtime, turned into bytes as a consumer would, and compared with real ones on
the judge's features; real images take the same test and give the floor.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime as ort
import torch

from models.pixels import to_bytes
from models.streams import noise
from tasks.console import Progress, run_stage
from tasks.files import replacing, write_json
from tasks.judge import Judge, load_judge
from tasks.onnx_session import run_onnx, session
from tasks.params import Params, load_params
from tasks.pictures import grid, write_png
from tasks.prepared import Split, open_prepared
from tasks.runtime import limit_threads
from tasks.scores import RealFeatures, load_real, protocol, real_floor, relative_distance, rounded, score

ONNX, METRICS, SAMPLES = Path("data/onnx"), Path("data/metrics"), Path("data/samples")
BLOCK = 500


def evaluate(model: str) -> dict[str, object]:
    """Writes data/metrics/MODEL.json and data/samples/MODEL; returns the figures."""
    params = load_params()
    limit_threads(params.threads)
    judge, network = load_judge()
    prepared = open_prepared()
    real, test = load_real(), prepared.split("test")
    generator, count = session(ONNX / model / f"{model}.onnx", params.threads), params.evaluate.grid**2
    with replacing(SAMPLES / model) as folder:
        folder.mkdir()
        figures = score(_generated(generator, judge, params, prepared.train_counts), real, params.evaluate)
        write_png(
            folder / "grid.png", grid(_samples(generator, params, len(prepared.train_counts)), params.evaluate.grid)
        )
        shown = np.arange(min(count, len(test)))
        write_png(folder / "real.png", grid(test.gather(shown), params.evaluate.grid))
        if model == "vae":
            figures |= _vae_figures(judge, real, test, params, folder)
    floor = real_floor(real, params.evaluate)
    record = {"model": model, "figures": figures, "floor": floor, "protocol": protocol(real, network, params.evaluate)}
    write_json(METRICS / f"{model}.json", record)
    for name, value in figures.items():
        print(f"{name:32s} {value:<10g} {'' if name not in floor else f'(real images {floor[name]:g})'}", flush=True)
    return {"figures": figures}


def _generated(running: ort.InferenceSession, judge: Judge, params: Params, counts: list[int]) -> np.ndarray:
    """Features of `n_images` images drawn from noise, and from labels at the shares that training images have."""
    settings = params.evaluate
    rows = noise(settings.n_images, running.get_inputs()[0].shape[1], settings.seed, "evaluate").numpy()
    shares = np.array(counts) / max(sum(counts), 1)
    labels = np.random.default_rng(settings.seed).choice(
        len(shares) or 1, settings.n_images, p=shares if counts else None
    )

    def draw(start: int, count: int) -> np.ndarray:
        return _draw(running, rows[start : start + count], labels[start : start + count])

    return _look(judge, draw, settings.n_images, "judging generated images")


def _samples(running: ort.InferenceSession, params: Params, classes: int) -> np.ndarray:
    """Images for the sample grid, label after label where the model is told labels; uint8."""
    count = params.evaluate.grid**2
    rows = noise(count, running.get_inputs()[0].shape[1], params.evaluate.seed, "grid").numpy()
    return _draw(running, rows, np.arange(count) * classes // count)


def _draw(running: ort.InferenceSession, rows: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Images as uint8 from noise, and from labels int64 where the model takes them."""
    given = (rows, labels) if len(running.get_inputs()) > 1 else (rows,)
    return as_bytes(run_onnx(running, *given)[0])


def _look(judge: Judge, images: Callable[[int, int], np.ndarray], count: int, what: str) -> np.ndarray:
    """Features of `count` images, a block at a time."""
    features = []
    with Progress(count, what) as shown:
        for start in range(0, count, BLOCK):
            block = images(start, min(BLOCK, count - start))
            features.append(judge.features(block))
            shown.advance(len(block))
    return np.concatenate(features)


def _vae_figures(judge: Judge, real: RealFeatures, test: Split, params: Params, folder: Path) -> dict[str, float]:
    """What bounds a VAE's samples: its reconstructions, and what N(0, I) gives without the fitted prior."""
    encoder = session(ONNX / "vae" / "encoder.onnx", params.threads)
    decoder = session(ONNX / "vae" / "decoder.onnx", params.threads)
    standard = _generated(decoder, judge, params, [])
    errors = []

    def reconstruct(start: int, count: int) -> np.ndarray:
        images = test.gather(np.arange(start, start + count))
        mean = run_onnx(encoder, images.astype(np.float32) / 255)[0]
        output = as_bytes(run_onnx(decoder, mean)[0])
        errors.append(np.square((images.astype(np.float32) - output) / 255).mean((1, 2, 3)))
        return output

    side = params.evaluate.grid
    count = min(params.evaluate.n_images, len(test))
    features = _look(judge, reconstruct, count, "judging reconstructions")
    squared = np.concatenate(errors)
    pairs = min(side * (side // 2), len(test))
    write_png(folder / "reconstructions.png", grid(_paired(test.gather(np.arange(pairs)), reconstruct(0, pairs)), side))
    return rounded(
        {
            "fd_relative_standard_prior": relative_distance(standard, real),
            "fd_relative_reconstructions": relative_distance(features, real),
            "psnr_reconstructions": float(np.mean(-10 * np.log10(np.maximum(squared, 1e-10)))),
        }
    )


def _paired(originals: np.ndarray, copies: np.ndarray) -> np.ndarray:
    """Original, copy, original, copy: uint8 [2n, C, H, W]."""
    return np.stack([originals, copies], axis=1).reshape(-1, *originals.shape[1:])


def as_bytes(images: np.ndarray) -> np.ndarray:
    """float32 [N, C, H, W] in [0, 1], as the graphs give them, to uint8."""
    return to_bytes(torch.from_numpy(images)).numpy()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", choices=["gan", "vae"])
    chosen = parser.parse_args().model
    run_stage(f"evaluate_{chosen}", lambda: evaluate(chosen))
