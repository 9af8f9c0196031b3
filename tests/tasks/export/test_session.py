"""Where ONNX Runtime runs: what is asked of a GPU is never done by the CPU without a word."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from tasks.export.session import CUDA, run_in_batches, run_onnx, session

WEIGHTS = np.random.default_rng(0).standard_normal((8, 3, 3, 3)).astype(np.float32)
ON_THE_GPU = "import sys; from pathlib import Path; import torch; from tasks.export.session import session; "
ON_THE_GPU += "session(Path(sys.argv[1]), 1, torch.device('cuda', 0))"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """One convolution."""
    images, maps = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", channels, 16, 16])
        for name, channels in (("images", 3), ("maps", 8))
    )
    node = helper.make_node("Conv", ["images", "weights"], ["maps"], pads=[1, 1, 1, 1])
    graph = helper.make_graph([node], "one", [images], [maps], [numpy_helper.from_array(WEIGHTS, "weights")])
    path = tmp_path / "one.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    return path


def test_a_gpu_that_onnx_runtime_cannot_reach_is_said(model: Path) -> None:
    """It would fall back to the CPU by itself."""
    hidden = os.environ | {"CUDA_VISIBLE_DEVICES": "-1"}
    done = subprocess.run(
        [sys.executable, "-c", ON_THE_GPU, str(model)], env=hidden, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "does not run on the GPU" in done.stderr
    assert "set device to cpu in params.yaml" in done.stderr


def test_the_cpu_is_asked_for_nothing_else(model: Path) -> None:
    assert session(model, 1).get_providers() == ["CPUExecutionProvider"]
    assert session(model, 1, torch.device("cpu")).get_providers() == ["CPUExecutionProvider"]


def test_a_fixed_batch_takes_any_number_of_rows(model: Path) -> None:
    images = np.random.default_rng(1).standard_normal((11, 3, 16, 16)).astype(np.float32)
    [wanted] = run_in_batches(session(model, 1), images)
    fixed = onnx.load(model)
    for value in (*fixed.graph.input, *fixed.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 4
    onnx.save(fixed, model.with_name("four.onnx"))
    running = session(model.with_name("four.onnx"), 1)
    for count in (1, 4, 11):
        np.testing.assert_allclose(run_in_batches(running, images[:count])[0], wanted[:count], atol=1e-5)


@pytest.mark.gpu
@pytest.mark.skipif(CUDA not in ort.get_available_providers(), reason="this ONNX Runtime has no CUDA in it")
def test_on_a_gpu_maps_are_those_of_the_cpu(model: Path) -> None:
    """TF32 would leave differences of about 1e-3."""
    running = session(model, 1, torch.device("cuda", 0))
    assert running.get_providers()[0] == "CUDAExecutionProvider"
    images = np.random.default_rng(1).standard_normal((4, 3, 16, 16)).astype(np.float32)
    np.testing.assert_allclose(run_onnx(running, images)[0], run_onnx(session(model, 1), images)[0], atol=5e-5)
