"""Small real ONNX files with their contracts, and what else the bundle reads."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tasks.common.files import write_json
from tasks.common.image_grid import grid, write_png
from tasks.common.params import BundleSettings
from tests.conftest import ROOT

SIZE, LENGTH, PIXELS = 8, 4, 64
IMAGE = {"name": "image", "dtype": "float32", "shape": ["N", 1, SIZE, SIZE]}
SETTINGS, THREADS = BundleSettings(golden=5, seed=1), 1


def vector(name: str) -> dict[str, Any]:
    return {"name": name, "dtype": "float32", "shape": ["N", LENGTH]}


def weights(seed: int, *shape: int) -> onnx.TensorProto:
    values = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    return numpy_helper.from_array(values, f"w{seed}")


def tensors(specs: list[dict[str, Any]]) -> list[onnx.ValueInfoProto]:
    return [helper.make_tensor_value_info(one["name"], TensorProto.FLOAT, one["shape"]) for one in specs]


def save(
    path: Path, nodes: list[Any], constants: list[Any], inputs: list[Any], outputs: list[Any], noise: str | None
) -> None:
    """An .onnx file with its contract inside, as the export stage writes it."""
    graph = helper.make_graph(nodes, "tiny", tensors(inputs), tensors(outputs), constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    contract = {
        "format": 2,
        "model": path.parent.name,
        "file": path.name,
        "of": path.name,
        "variant": "float32",
        "inputs": inputs,
        "outputs": outputs,
        "range": [0, 1],
        "noise_distribution": noise,
        "tolerance": 1e-4,
        "labels": ["bag", "coat"],
        "hashes": {"data": "a" * 64, "code": "b" * 64, "params": "c" * 64, "weights": "d" * 64},
        "images": {"train": 80, "validation": 10, "test": 10},
        "quarantined": {"truncated": 1},
        "libraries": {"torch": "2.14.1"},
    }
    helper.set_model_props(model, {"imagewright.contract": json.dumps(contract)})
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)


def save_generator(path: Path, given: str) -> None:
    nodes = [
        helper.make_node("MatMul", [given, "w0"], ["logits"]),
        helper.make_node("Sigmoid", ["logits"], ["flat"]),
        helper.make_node("Reshape", ["flat", "shape"], ["image"]),
    ]
    shape = numpy_helper.from_array(np.array([-1, 1, SIZE, SIZE]), "shape")
    law = "standard normal" if given == "noise" else None
    save(path, nodes, [weights(0, LENGTH, PIXELS), shape], [vector(given)], [IMAGE], law)


def save_encoder(path: Path) -> None:
    nodes = [
        helper.make_node("Flatten", ["image"], ["flat"]),
        helper.make_node("MatMul", ["flat", "w1"], ["mean"]),
        helper.make_node("MatMul", ["flat", "w2"], ["log_variance"]),
    ]
    constants = [weights(1, PIXELS, LENGTH), weights(2, PIXELS, LENGTH)]
    save(path, nodes, constants, [IMAGE], [vector("mean"), vector("log_variance")], None)


def fill(root: Path) -> None:
    """What the stages before leave for both models."""
    save_generator(root / "data/onnx/gan/gan.onnx", "noise")
    save_generator(root / "data/onnx/vae/vae.onnx", "noise")
    save_generator(root / "data/onnx/vae/decoder.onnx", "latent")
    save_encoder(root / "data/onnx/vae/encoder.onnx")
    splits = {split: {"count": count} for split, count in (("train", 80), ("validation", 10), ("test", 10))}
    manifest = {"source": "folder", "labels": ["bag", "coat"], "splits": splits}
    shutil.copy(ROOT / "requirements.lock", root)
    (root / "data/prepared").mkdir()
    write_json(root / "data/prepared/manifest.json", manifest)
    for model in ("gan", "vae"):
        values = {"coverage": 0.8, "fd_relative": 0.0213, "precision": 0.7}
        floor = {"coverage": 0.97, "fd_relative": 0.001}
        metrics = {"model": model, "metrics": values, "floor": floor, "protocol": {"n_images": 10000, "seed": 0}}
        metrics["variants"] = {}
        write_json(root / "data/evaluation" / f"{model}.json", metrics)
        for name in ("grid.png", "real.png") + (("reconstructions.png",) if model == "vae" else ()):
            picture = grid(np.zeros((4, 1, SIZE, SIZE), np.uint8), 2)
            write_png(root / "data/samples" / model / name, picture)
