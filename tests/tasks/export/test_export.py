"""The file that ships: agrees with float64 PyTorch, is refused when it does not, and is the same from two folders."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from models.networks.gan import GanConfig, Generator
from models.networks.prior import FlowPrior
from models.networks.vae import Decoder, Encoder, VaeConfig
from models.training.state import network_tensors
from tasks.common.errors import UserError
from tasks.common.files import sha256_tree
from tasks.common.params import load_params
from tasks.export.contract import CONTRACT, read_contract
from tasks.export.files import make_contract, to_onnx, write_checked
from tasks.export.graphs import Graph, build_graphs
from tasks.export.parity import BATCHES, check_parity, exact_outputs, parity_inputs, ways
from tasks.export.session import run_onnx, session
from tests.conftest import ROOT

SETTINGS = load_params().export
CPU = ways("cpu", threads=1)
ORIGIN = {
    "hashes": {"data": "d", "code": "c", "params": "p", "weights": "w"},
    "images": {"train": 80, "validation": 10, "test": 10},
    "quarantined": {"truncated": 1},
    "trained_with": {
        "libraries": {"torch": "2.11.0", "numpy": "2.4.6"},
        "mode": "cpu/float32",
        "device": "cpu AVX2",
        "threads": 2,
    },
    "libraries": {"torch": "2.14.1"},
}


def gan() -> tuple[dict[str, torch.Tensor], dict[str, object]]:
    torch.manual_seed(0)
    shape = GanConfig(size=28, image_channels=1, noise=6, classes=0, channels=2, upsample="transposed")
    about = {"model": "gan", "shape": shape.model_dump(), "labels": [], **ORIGIN}
    return network_tensors({"generator": Generator(shape)}), about


def vae() -> tuple[dict[str, torch.Tensor], dict[str, object]]:
    torch.manual_seed(0)
    shape = VaeConfig(
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
    about = {"model": "vae", "shape": shape.model_dump(), "labels": ["a", "b"], **ORIGIN}
    return network_tensors(networks), about


def conditional_gan() -> tuple[dict[str, torch.Tensor], dict[str, object]]:
    """A GAN that takes a label."""
    torch.manual_seed(0)
    shape = GanConfig(size=28, image_channels=1, noise=6, classes=3, channels=2, upsample="nearest")
    about = {"model": "gan", "shape": shape.model_dump(), "labels": ["a", "b", "c"], **ORIGIN}
    return network_tensors({"generator": Generator(shape)}), about


def conditional_vae() -> tuple[dict[str, torch.Tensor], dict[str, object]]:
    """A VAE whose prior takes a label; its encoder and decoder take none."""
    tensors, about = vae()
    shape = VaeConfig.model_validate(about["shape"]).model_copy(update={"classes": 2})
    prior = {f"prior.{name}": value for name, value in FlowPrior(5, 2, 4, classes=2).state_dict().items()}
    return tensors | prior, about | {"shape": shape.model_dump()}


def textbook_vae() -> tuple[dict[str, torch.Tensor], dict[str, object]]:
    """Sigmoid output, and N(0, I) for a prior: no flow in the graph."""
    torch.manual_seed(0)
    shape = VaeConfig(
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
    return network_tensors(networks), {"model": "vae", "shape": shape.model_dump(), "labels": [], **ORIGIN}


def exported(graph: Graph, name: str, about: dict[str, object]) -> onnx.ModelProto:
    """The float32 file of a graph."""
    contract = make_contract(name, graph, about, SETTINGS.tolerance)
    return to_onnx(graph, parity_inputs(name, contract["inputs"], len(contract["labels"])), contract, SETTINGS)


def save(model: onnx.ModelProto, path: Path) -> Path:
    path.write_bytes(model.SerializeToString(deterministic=True))
    return path


@pytest.mark.parametrize("make", [gan, conditional_gan, vae, conditional_vae, textbook_vae])
def test_files_agree_with_pytorch_and_carry_their_contract(make, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    tensors, about = make()
    for name, graph in build_graphs(tensors, about).items():
        contract = make_contract(name, graph, about, SETTINGS.tolerance)
        found = dict(write_checked(tmp_path, graph, contract, SETTINGS, CPU))
        stem = Path(name).stem
        kinds = ["batch16", "float16"] if name == "encoder.onnx" else ["batch16", "float16", "uint8"]
        assert sorted(found) == sorted([name, *(f"{stem}.{kind}.onnx" for kind in kinds)])
        assert all(one.largest <= SETTINGS.tolerance for one in found[name].values())
        for file in found:
            model = onnx.load(tmp_path / file)
            promised = read_contract(model)
            assert (promised["file"], promised["of"]) == (file, name)
            assert [entry.key for entry in model.metadata_props] == [CONTRACT]
            assert [tensor["name"] for tensor in promised["inputs"]] == [tensor.name for tensor in model.graph.input]
            assert {opset.domain for opset in model.opset_import} == {""}
            assert str(ROOT) not in (tmp_path / file).read_bytes().decode("latin1")
        assert read_contract(onnx.load(tmp_path / name)) == contract


def test_images_lie_in_zero_to_one_for_extreme_noise(tmp_path: Path) -> None:
    tensors, about = vae()
    path = save(exported(build_graphs(tensors, about)["vae.onnx"], "vae.onnx", about), tmp_path / "vae.onnx")
    images = run_onnx(session(path, 1), np.full((3, 5), 30, np.float32))[0]
    assert images.min() >= 0
    assert images.max() <= 1


@pytest.mark.parametrize("make", [conditional_gan, conditional_vae])
def test_a_label_is_the_second_input(make, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    tensors, about = make()
    name = f"{about['model']}.onnx"
    graph = build_graphs(tensors, about)[name]
    contract = make_contract(name, graph, about, SETTINGS.tolerance)
    assert contract["inputs"][1] == {"name": "label", "dtype": "int64", "shape": ["N"]}
    path = save(exported(graph, name, about), tmp_path / name)
    noise = np.ones((2, contract["inputs"][0]["shape"][1]), np.float32)
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
    path = save(exported(graph, "gan.onnx", about), tmp_path / "gan.onnx")
    contract = make_contract("gan.onnx", graph, about, SETTINGS.tolerance)
    inputs = parity_inputs("gan.onnx", contract["inputs"], 0)
    with torch.no_grad():
        next(graph.parameters()).mul_(1.01)
    arrays, exact = [given.numpy() for given in inputs], exact_outputs(graph, inputs)
    with pytest.raises(UserError, match=r"gan\.onnx differs from PyTorch by .* on the cpu, graph as it stands, more"):
        check_parity(path, contract, arrays, exact, SETTINGS, CPU)


def test_a_file_of_the_wrong_type_or_a_baked_in_batch_is_refused(tmp_path: Path) -> None:
    tensors, about = gan()
    graph = build_graphs(tensors, about)["gan.onnx"]
    contract = make_contract("gan.onnx", graph, about, SETTINGS.tolerance)
    inputs = parity_inputs("gan.onnx", contract["inputs"], 0)
    arrays, exact = [given.numpy() for given in inputs], exact_outputs(graph, inputs)
    made = dict(write_checked(tmp_path, graph, contract, SETTINGS, CPU))
    assert "gan.uint8.onnx" in made
    with pytest.raises(UserError, match=r"gives uint8 .* instead of float32"):
        check_parity(tmp_path / "gan.uint8.onnx", contract, arrays, exact, SETTINGS, CPU)
    with pytest.raises(UserError, match="at batch size 64"):
        check_parity(tmp_path / "gan.batch16.onnx", contract, arrays, exact, SETTINGS, CPU)
    assert BATCHES[-1] == 64


EXPORT_HERE = """
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from tests.tasks.export.test_export import CPU, SETTINGS, gan
from tasks.export.files import make_contract, write_checked
from tasks.export.graphs import build_graphs
tensors, about = gan()
graph = build_graphs(tensors, about)["gan.onnx"]
contract = make_contract("gan.onnx", graph, about, 1e-4)
made = Path("made")
made.mkdir()
for file, _ in write_checked(made, graph, contract, SETTINGS, CPU):
    print(file)
"""


@pytest.mark.long
def test_two_folders_give_the_same_bytes(tmp_path: Path) -> None:
    made: list[dict[str, str]] = []
    for name in ("one", "a longer name of another depth/two"):
        folder = tmp_path / name
        folder.parent.mkdir(exist_ok=True)
        folder.mkdir()
        for part in ("models", "tasks", "tests", "params.yaml"):
            subprocess.run(["cp", "-r", ROOT / part, folder / part], check=True)
        subprocess.run([sys.executable, "-c", EXPORT_HERE, str(folder)], cwd=folder, capture_output=True, check=True)
        made.append(sha256_tree(folder / "made"))
    assert made[0] == made[1]
    assert len(made[0]) == 4
