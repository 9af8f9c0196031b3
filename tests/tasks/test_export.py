"""The file that ships: agrees with float64 PyTorch, is refused when it does not, and is the same from two folders."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from models.gan import GanShape, Generator
from models.prior import FlowPrior
from models.state import network_tensors
from models.vae import Decoder, Encoder, VaeShape
from tasks.errors import UserError
from tasks.export import check_parity, example_inputs, make_contract, to_onnx
from tasks.graphs import build_graphs
from tasks.onnx_files import CONTRACT
from tasks.onnx_session import run_onnx, session
from tasks.params import load_params
from tests.conftest import ROOT

SETTINGS = load_params().export
HASHES = {"data": "d", "code": "c", "params": "p", "weights": "w"}


def gan() -> tuple[dict[str, torch.Tensor], dict[str, object]]:
    torch.manual_seed(0)
    shape = GanShape(size=28, image_channels=1, noise=6, classes=0, channels=2, upsample="transposed")
    about = {"model": "gan", "shape": shape.model_dump(), "labels": [], "hashes": HASHES}
    return network_tensors({"generator": Generator(shape)}), about


def vae() -> tuple[dict[str, torch.Tensor], dict[str, object]]:
    torch.manual_seed(0)
    shape = VaeShape(
        size=32,
        image_channels=3,
        latent=5,
        classes=0,
        channels=2,
        network="residual",
        output="linear",
        prior_layers=2,
        prior_width=4,
    )
    networks = {"encoder": Encoder(shape), "decoder": Decoder(shape), "prior": FlowPrior(5, 2, 4)}
    about = {"model": "vae", "shape": shape.model_dump(), "labels": ["a", "b"], "hashes": HASHES}
    return network_tensors(networks), about


def told_gan() -> tuple[dict[str, torch.Tensor], dict[str, object]]:
    """A GAN that takes a label."""
    torch.manual_seed(0)
    shape = GanShape(size=28, image_channels=1, noise=6, classes=3, channels=2, upsample="nearest")
    about = {"model": "gan", "shape": shape.model_dump(), "labels": ["a", "b", "c"], "hashes": HASHES}
    return network_tensors({"generator": Generator(shape)}), about


def told_vae() -> tuple[dict[str, torch.Tensor], dict[str, object]]:
    """A VAE whose prior takes a label; its encoder and decoder take none."""
    tensors, about = vae()
    shape = VaeShape.model_validate(about["shape"]).model_copy(update={"classes": 2})
    prior = {f"prior.{name}": value for name, value in FlowPrior(5, 2, 4, classes=2).state_dict().items()}
    return tensors | prior, about | {"shape": shape.model_dump()}


def textbook_vae() -> tuple[dict[str, torch.Tensor], dict[str, object]]:
    """Sigmoid output, and N(0, I) for a prior: no flow in the graph."""
    torch.manual_seed(0)
    shape = VaeShape(
        size=28,
        image_channels=1,
        latent=5,
        classes=0,
        channels=2,
        network="plain",
        output="sigmoid",
        prior_layers=0,
        prior_width=1,
    )
    networks = {"encoder": Encoder(shape), "decoder": Decoder(shape)}
    return network_tensors(networks), {"model": "vae", "shape": shape.model_dump(), "labels": [], "hashes": HASHES}


@pytest.mark.parametrize("make", [gan, told_gan, vae, told_vae, textbook_vae])
def test_files_agree_with_pytorch_and_carry_their_contract(make, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    tensors, about = make()
    for name, graph in build_graphs(tensors, about).items():
        contract = make_contract(name, about, SETTINGS.tolerance)
        path = tmp_path / name
        path.write_bytes(to_onnx(graph, example_inputs(name, about["shape"], 2), contract, SETTINGS))
        assert check_parity(path, graph, name, about["shape"], SETTINGS, threads=1) <= SETTINGS.tolerance
        model = onnx.load(path)
        assert json.loads(model.metadata_props[0].value) == contract
        assert [entry.key for entry in model.metadata_props] == [CONTRACT]
        assert [tensor["name"] for tensor in contract["inputs"]] == [tensor.name for tensor in model.graph.input]
        assert {opset.domain for opset in model.opset_import} == {""}
        assert str(ROOT) not in path.read_bytes().decode("latin1")


def test_images_lie_in_zero_to_one_for_extreme_noise(tmp_path: Path) -> None:
    tensors, about = vae()
    graph = build_graphs(tensors, about)["vae.onnx"]
    contract = make_contract("vae.onnx", about, SETTINGS.tolerance)
    path = tmp_path / "vae.onnx"
    path.write_bytes(to_onnx(graph, example_inputs("vae.onnx", about["shape"], 2), contract, SETTINGS))
    images = run_onnx(session(path, 1), np.full((3, 5), 30, np.float32))[0]
    assert images.min() >= 0
    assert images.max() <= 1


@pytest.mark.parametrize("make", [told_gan, told_vae])
def test_a_label_is_the_second_input(make, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    tensors, about = make()
    name = f"{about['model']}.onnx"
    contract = make_contract(name, about, SETTINGS.tolerance)
    assert contract["inputs"][1] == {"name": "label", "dtype": "int64", "shape": ["N"]}  # type: ignore[index]
    path = tmp_path / name
    graph = build_graphs(tensors, about)[name]
    path.write_bytes(to_onnx(graph, example_inputs(name, about["shape"], 2), contract, SETTINGS))
    noise = np.ones((2, len(example_inputs(name, about["shape"], 1)[0][0])), np.float32)
    images = run_onnx(session(path, 1), noise, np.array([0, 1]))[0]
    assert (images[0] != images[1]).any() or about["model"] == "vae"  # a fresh flow is the identity for every label
    for wrong in (-1, 99):
        with pytest.raises(
            UserError, match=r"the model fails on .* at batch size 2: .*(out of data bounds|invalid index)"
        ):
            run_onnx(session(path, 1), noise, np.array([0, wrong]))


def test_a_file_that_differs_is_refused(tmp_path: Path) -> None:
    tensors, about = gan()
    graph = build_graphs(tensors, about)["gan.onnx"]
    contract = make_contract("gan.onnx", about, SETTINGS.tolerance)
    path = tmp_path / "gan.onnx"
    path.write_bytes(to_onnx(graph, example_inputs("gan.onnx", about["shape"], 2), contract, SETTINGS))
    with torch.no_grad():
        next(graph.parameters()).mul_(1.01)
    with pytest.raises(UserError, match=r"gan\.onnx differs from PyTorch by .* at batch size 1, more than"):
        check_parity(path, graph, "gan.onnx", about["shape"], SETTINGS, threads=1)


def test_a_batch_size_baked_into_the_graph_is_refused(tmp_path: Path) -> None:
    tensors, about = gan()
    graph = build_graphs(tensors, about)["gan.onnx"]
    path = tmp_path / "gan.onnx"
    torch.onnx.export(
        graph, example_inputs("gan.onnx", about["shape"], 2), path, dynamo=True, verbose=False, external_data=False
    )
    with pytest.raises(UserError, match="at batch size 1"):
        check_parity(path, graph, "gan.onnx", about["shape"], SETTINGS, threads=1)


EXPORT_HERE = """
import sys
sys.path.insert(0, sys.argv[1])
from tests.tasks.test_export import SETTINGS, gan
from tasks.export import example_inputs, make_contract, to_onnx
from tasks.graphs import build_graphs
from tasks.onnx_files import CONTRACT
tensors, about = gan()
graph = build_graphs(tensors, about)["gan.onnx"]
contract = make_contract("gan.onnx", about, 1e-4)
sys.stdout.buffer.write(to_onnx(graph, example_inputs("gan.onnx", about["shape"], 2), contract, SETTINGS))
"""


def test_two_folders_give_the_same_bytes(tmp_path: Path) -> None:
    made = []
    for name in ("one", "a longer name of another depth/two"):
        folder = tmp_path / name
        folder.parent.mkdir(exist_ok=True)
        folder.mkdir()
        for part in ("models", "tasks", "tests", "params.yaml"):
            subprocess.run(["cp", "-r", ROOT / part, folder / part], check=True)
        done = subprocess.run(
            [sys.executable, "-c", EXPORT_HERE, str(folder)], cwd=folder, capture_output=True, check=True
        )
        made.append(done.stdout)
    assert made[0] == made[1]
    assert len(made[0]) > 1000
