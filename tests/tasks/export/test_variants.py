"""What a variant gives, beside the float32 file that it was made of."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto
from torch import Tensor

from tasks.export.checks import check_graph
from tasks.export.contract import read_contract
from tasks.export.files import make_contract
from tasks.export.graphs import build_graphs
from tasks.export.session import run_onnx, session
from tasks.export.variants import make_variants
from tests.tasks.export.test_export import SETTINGS, conditional_gan, exported, save, vae

LENGTH, LABELS = 6, 3


def files(weights: tuple[dict[str, Tensor], dict[str, object]], folder: Path) -> dict[str, Path]:
    """The files of a GAN, by name."""
    tensors, about = weights
    plain = exported(build_graphs(tensors, about)["gan.onnx"], "gan.onnx", about)
    models = {"gan.onnx": plain} | make_variants(plain, read_contract(plain), SETTINGS)
    return {name: save(model, folder / name) for name, model in models.items()}


def given(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Noise, and every label in turn."""
    return np.random.default_rng(0).standard_normal((count, LENGTH), dtype=np.float32), np.arange(count) % LABELS


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return files(conditional_gan(), tmp_path_factory.mktemp("made"))


def test_uint8_rounds_clips_and_turns_within_the_graph(made: dict[str, Path]) -> None:
    [images] = run_onnx(session(made["gan.onnx"], 1), *given(5))
    [pixels] = run_onnx(session(made["gan.uint8.onnx"], 1), *given(5))
    assert pixels.shape == (5, 28, 28, 1)
    np.testing.assert_array_equal(pixels, np.rint(images * 255).astype(np.uint8).transpose(0, 2, 3, 1))
    contract = read_contract(onnx.load(made["gan.uint8.onnx"]))
    image = {"name": "image", "dtype": "uint8", "shape": ["N", 28, 28, 1], "layout": "NHWC"}
    assert (contract["outputs"], contract["range"], contract["tolerance"]) == ([image], [0, 255], 1)


def test_float16_holds_float16_and_takes_and_gives_float32(made: dict[str, Path]) -> None:
    model = onnx.load(made["gan.float16.onnx"])
    weights = [tensor for tensor in model.graph.initializer if tensor.name.startswith("generator.")]
    assert {tensor.data_type for tensor in weights} == {TensorProto.FLOAT16}
    [images] = run_onnx(session(made["gan.onnx"], 1), *given(5))
    [rounded] = run_onnx(session(made["gan.float16.onnx"], 1), *given(5))
    assert rounded.dtype == np.float32
    assert 0 < np.abs(images - rounded).max() < SETTINGS.tolerance_float16
    assert read_contract(model)["tolerance"] == SETTINGS.tolerance_float16


def test_a_fixed_batch_knows_every_size(made: dict[str, Path]) -> None:
    model = onnx.load(made["gan.batch16.onnx"])
    values = [*model.graph.value_info, *model.graph.input, *model.graph.output]
    assert all(size.dim_value for value in values for size in value.type.tensor_type.shape.dim)
    assert len(values) > len(model.graph.node)
    check_graph("gan.batch16.onnx", model, 16)
    contract = read_contract(model)
    assert [one["shape"][0] for one in (*contract["inputs"], *contract["outputs"])] == [16, 16, 16]
    [images] = run_onnx(session(made["gan.onnx"], 1), *given(16))
    np.testing.assert_allclose(run_onnx(session(made["gan.batch16.onnx"], 1), *given(16))[0], images, atol=1e-6)


def test_the_same_graph_gives_the_same_bytes(made: dict[str, Path], tmp_path: Path) -> None:
    plain = onnx.load(made["gan.onnx"])
    for name, model in make_variants(plain, read_contract(plain), SETTINGS).items():
        assert save(model, tmp_path / name).read_bytes() == made[name].read_bytes()
    assert plain == onnx.load(made["gan.onnx"])


def test_only_what_is_asked_for_is_made() -> None:
    tensors, about = vae()
    graph = build_graphs(tensors, about)["encoder.onnx"]
    plain = exported(graph, "encoder.onnx", about)
    for asked, names in (([], []), (["uint8"], []), (["uint8", "float16"], ["encoder.float16.onnx"])):
        settings = SETTINGS.model_copy(update={"variants": asked})
        assert list(make_variants(plain, make_contract("encoder.onnx", graph, about, 1e-5), settings)) == names
    four = SETTINGS.model_copy(update={"variants": ["static"], "static_batch": 4})
    assert list(make_variants(plain, read_contract(plain), four)) == ["encoder.batch4.onnx"]
