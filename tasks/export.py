"""The stages export_gan and export_vae: `python -m tasks.export gan|vae` makes data/onnx from data/weights.

A file leaves only if ONNX Runtime, run on it, agrees with PyTorch in float64.
"""

import argparse
import copy
import logging
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from models.streams import generator as stream
from tasks.console import run_stage
from tasks.errors import UserError
from tasks.files import canonical, replacing, sha256_file
from tasks.graphs import build_graphs
from tasks.onnx_files import CONTRACT, check_graph
from tasks.onnx_session import run_onnx, session
from tasks.params import ExportSettings, load_params
from tasks.weights import load_tensors

WEIGHTS, ONNX = Path("data/weights"), Path("data/onnx")
PARITY_SIZES = (1, 2, 7, 64)
INPUTS = {"gan.onnx": "noise", "vae.onnx": "noise", "encoder.onnx": "image", "decoder.onnx": "latent"}
OUTPUTS = {"encoder.onnx": ("mean", "log_variance")}


def export(model: str) -> dict[str, object]:
    """Writes data/onnx/MODEL with one file per graph; returns the largest difference of each from PyTorch.

    Raises UserError when a file differs from PyTorch by more than `export.tolerance`; nothing is written then.
    """
    params = load_params()
    torch.set_num_threads(params.threads)
    weights = WEIGHTS / model / "weights.safetensors"
    tensors, about = load_tensors(weights)
    hashes = about["hashes"] | {"weights": sha256_file(weights)}
    differences = {}
    with replacing(ONNX / model) as folder:
        folder.mkdir()
        for name, graph in build_graphs(tensors, about).items():
            contract = make_contract(name, about | {"hashes": hashes}, params.export.tolerance)
            example = example_inputs(name, about["shape"], 2)
            (folder / name).write_bytes(to_onnx(graph, example, contract, params.export))
            differences[name] = check_parity(folder / name, graph, name, about["shape"], params.export, params.threads)
            print(f"{name}: differs from float64 PyTorch by at most {differences[name]:.1e}", flush=True)
    return {"largest_difference": differences}


def example_inputs(name: str, shape: Mapping[str, Any], count: int) -> tuple[Tensor, ...]:
    """Seeded inputs of `count` rows for the graph `name`.

    Codes are float32 and normal, images float32 and uniform in [0, 1]; labels, where they are told, int64 in turn.
    """
    random = stream(0, f"parity {name}", count)
    if INPUTS[name] == "image":
        return (torch.rand(count, shape["image_channels"], shape["size"], shape["size"], generator=random),)
    codes = torch.randn(count, shape["latent"] if "latent" in shape else shape["noise"], generator=random)
    return (codes, torch.arange(count) % shape["classes"]) if _told(name, shape) else (codes,)


def _told(name: str, shape: Mapping[str, Any]) -> bool:
    return INPUTS[name] == "noise" and shape["classes"] > 0


def make_contract(name: str, about: Mapping[str, Any], tolerance: float) -> dict[str, object]:
    """What a consumer may rely on: names, types and shapes, range, law of the noise, tolerance, and origin by hash."""
    shape = about["shape"]
    length = shape["latent"] if "latent" in shape else shape["noise"]
    image = ["N", shape["image_channels"], shape["size"], shape["size"]]
    sizes = {"image": image, "label": ["N"]}
    inputs = (INPUTS[name], "label") if _told(name, shape) else (INPUTS[name],)
    outputs = OUTPUTS.get(name, ("image",))

    def tensor(of: str) -> dict[str, object]:
        return {"name": of, "dtype": "int64" if of == "label" else "float32", "shape": sizes.get(of, ["N", length])}

    return {
        "format": 1,
        "model": about["model"],
        "file": name,
        "inputs": [tensor(given) for given in inputs],
        "outputs": [tensor(output) for output in outputs],
        "range": [0, 1],
        "noise_law": "standard normal" if INPUTS[name] == "noise" else None,
        "tolerance": tolerance,
        "labels": about["labels"],
        "hashes": about["hashes"],
    }


def to_onnx(
    graph: nn.Module, example: tuple[Tensor, ...], contract: Mapping[str, object], settings: ExportSettings
) -> bytes:
    """The graph as one self-contained ONNX file with a free batch size and the contract among its metadata.

    Equal weights give equal bytes wherever the code lies: what the exporter notes about its sources is removed. Raises
    UserError when the file holds what may not ship.
    """
    inputs = contract["inputs"]
    outputs = contract["outputs"]
    assert isinstance(inputs, Sequence) and isinstance(outputs, Sequence)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own deprecations
        program = torch.onnx.export(
            graph,
            example,
            dynamo=True,
            opset_version=settings.opset,
            input_names=[tensor["name"] for tensor in inputs],
            output_names=[tensor["name"] for tensor in outputs],
            dynamic_shapes=tuple({0: torch.export.Dim("N")} for _ in example),
            verbose=False,
        )
    assert program is not None
    return _strip(program.model_proto, contract)


def _strip(model: onnx.ModelProto, contract: Mapping[str, object]) -> bytes:
    for part in (model.graph, *model.graph.node, *model.graph.value_info, *model.graph.input, *model.graph.output):
        del part.metadata_props[:]
        part.doc_string = ""
    for tensor in model.graph.initializer:
        del tensor.metadata_props[:]
    del model.metadata_props[:]
    del model.functions[:]
    model.doc_string, model.graph.name, model.producer_version = "", str(contract["model"]), ""
    model.producer_name = "imagewright"
    entry = model.metadata_props.add()
    entry.key, entry.value = CONTRACT, canonical(contract).decode()
    check_graph(str(contract["file"]), model, None)
    data: bytes = model.SerializeToString(deterministic=True)
    return data


def check_parity(
    path: Path, graph: nn.Module, name: str, shape: Mapping[str, Any], settings: ExportSettings, threads: int
) -> float:
    """Largest difference between the file in ONNX Runtime and the graph in float64, at several batch sizes.

    Raises UserError when it is above the tolerance.
    """
    exact, running, largest = copy.deepcopy(graph).double(), session(path, threads), 0.0
    for count in PARITY_SIZES:
        example = example_inputs(name, shape, count)
        with torch.no_grad():
            wanted = exact(example[0].double(), *example[1:])
        wanted = wanted if isinstance(wanted, tuple) else (wanted,)
        for got, want in zip(run_onnx(running, *(given.numpy() for given in example)), wanted, strict=True):
            difference = float(np.abs(got - want.numpy()).max())
            if not difference <= settings.tolerance or got.shape != tuple(want.shape):
                raise UserError(
                    f"{name} differs from PyTorch by {difference:.1e} at batch size {count}, more than "
                    f"export.tolerance = {settings.tolerance:.0e}; it was not written"
                )
            largest = max(largest, difference)
    return largest


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", choices=["gan", "vae"])
    chosen = parser.parse_args().model
    run_stage(f"export_{chosen}", lambda: export(chosen))
