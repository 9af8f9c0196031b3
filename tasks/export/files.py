"""Makes the files of data/onnx from data/weights.

A file is written only if its content may ship and its outputs agree with PyTorch in float64.
"""

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import Tensor

from tasks.common.files import replacing
from tasks.common.params import ExportSettings, Params
from tasks.common.tensors import load_tensors
from tasks.export.checks import check_graph
from tasks.export.contract import FORMAT, Contract, read_contract, with_contract
from tasks.export.graphs import Graph, build_graphs
from tasks.export.parity import Difference, Way, check_parity, exact_outputs, parity_inputs, ways
from tasks.export.provenance import provenance
from tasks.export.variants import make_variants

WEIGHTS, ONNX = Path("data/weights"), Path("data/onnx")
PROVENANCE = ("hashes", "images", "quarantined", "trained_with", "libraries")


def export(model: str, params: Params) -> dict[str, object]:
    """Writes data/onnx/MODEL with a file per graph and its variants; returns their differences from PyTorch.

    Raises UserError, and writes nothing, when a file has content that may not ship or exceeds its tolerance.
    """
    torch.set_num_threads(params.threads)
    weights = WEIGHTS / model / "weights.safetensors"
    tensors, header = load_tensors(weights)
    about = provenance(f"export_{model}", header, weights)
    along, differences = ways(params.device, params.threads), {}
    with replacing(ONNX / model) as folder:
        folder.mkdir()
        for name, graph in build_graphs(tensors, about).items():
            contract = make_contract(name, graph, about, params.export.tolerance)
            for file, found in write_checked(folder, graph, contract, params.export, along):
                differences[file] = {way: asdict(one) for way, one in found.items()}
                largest, pixels = (max(getattr(one, what) for one in found.values()) for what in ("largest", "pixels"))
                print(f"{file}: at most {largest:.1e} from float64 PyTorch, {pixels} of 255 in a pixel", flush=True)
    return {"differences": differences}


def write_checked(
    folder: Path, graph: Graph, contract: Contract, settings: ExportSettings, along: Sequence[Way]
) -> Iterator[tuple[str, dict[str, Difference]]]:
    """Writes the float32 file of a graph and its variants, and yields the differences of each file by way to run it.

    Raises UserError at the first file that may not ship.
    """
    inputs = parity_inputs(contract["file"], contract["inputs"], len(contract["labels"]))
    exact, arrays = exact_outputs(graph, inputs), [tensor.numpy() for tensor in inputs]
    model = to_onnx(graph, inputs, contract, settings)
    for made in (model, *make_variants(model, contract, settings).values()):
        promised = read_contract(made, contract["file"])
        path, batch = folder / promised["file"], promised["inputs"][0]["shape"][0]
        check_graph(path.name, made, None if batch == "N" else batch)
        path.write_bytes(made.SerializeToString(deterministic=True))
        yield path.name, check_parity(path, promised, arrays, exact, settings, along)


def make_contract(name: str, graph: Graph, about: Mapping[str, Any], tolerance: float) -> dict[str, Any]:
    """Returns the contract of a float32 file: tensors, range, distribution of the noise, tolerance, origin."""
    shape = about["shape"]
    length = shape.get("latent", shape.get("noise"))  # of a vector; None for a function from images to images
    image = ["N", shape["image_channels"], shape["size"], shape["size"]]
    sizes = {"image": image, "source": image, "label": ["N"]}
    samples = graph.input == "noise"
    inputs = (graph.input, "label") if samples and shape.get("classes") else (graph.input,)

    def tensor(name: str) -> dict[str, Any]:
        layout = {"layout": "NCHW"} if sizes.get(name) == image else {}
        dtype = "int64" if name == "label" else "float32"
        return {"name": name, "dtype": dtype, "shape": sizes.get(name, ["N", length]), **layout}

    return {
        "format": FORMAT,
        "model": about["model"],
        "file": name,
        "of": name,
        "variant": "float32",
        "inputs": [tensor(one) for one in inputs],
        "outputs": [tensor(one) for one in graph.outputs],
        "range": [0, 1],
        "noise_distribution": "standard normal" if samples else None,
        "tolerance": tolerance,
        "labels": about["labels"],
        **{name: about[name] for name in PROVENANCE},
    }


def to_onnx(graph: Graph, example: tuple[Tensor, ...], contract: Contract, settings: ExportSettings) -> onnx.ModelProto:
    """Returns the graph as a self-contained ONNX model with a free batch size and the contract as its metadata.

    Equal weights give equal bytes on every machine, since the exporter's notes about source files are removed.
    """
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the deprecations of the exporter
        program = torch.onnx.export(
            graph,
            tuple(tensor[:2] for tensor in example),  # the exporter takes a batch size of 1 for a constant
            dynamo=True,
            opset_version=settings.opset,
            input_names=[tensor["name"] for tensor in contract["inputs"]],
            output_names=[tensor["name"] for tensor in contract["outputs"]],
            dynamic_shapes=tuple({0: torch.export.Dim("N")} for _ in example),
            verbose=False,
        )
    assert program is not None
    return with_contract(_stripped(program.model_proto, contract["model"]), contract)


def _stripped(model: onnx.ModelProto, name: str) -> onnx.ModelProto:
    for part in (model.graph, *model.graph.node, *model.graph.value_info, *model.graph.input, *model.graph.output):
        del part.metadata_props[:]
        part.doc_string = ""
    for tensor in model.graph.initializer:
        del tensor.metadata_props[:]
    del model.functions[:]
    model.doc_string, model.graph.name, model.producer_version = "", name, ""
    model.producer_name = "imagewright"
    return model
