"""Inputs that leave nothing out, and a provider that is really the one that was asked for."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
import torch

from tasks.common.errors import UserError
from tasks.export import parity
from tasks.export.files import make_contract, write_checked
from tasks.export.graphs import build_graphs
from tasks.export.parity import (
    BATCHES,
    Difference,
    Way,
    check_parity,
    difference,
    exact_outputs,
    parity_inputs,
    require_placement,
    ways,
)
from tasks.export.session import CUDA
from tests.tasks.export.test_export import CPU, SETTINGS, conditional_gan, gan

NOISE = [{"name": "noise", "shape": ["N", 100]}]
IMAGE = {"outputs": [{"name": "image", "dtype": "float32"}]}
ON_A_GPU = """
import sys, torch
from pathlib import Path
from tasks.export.parity import Way
from tests.tasks.export.test_parity import write_along
write_along(Path(sys.argv[1]), Way(torch.device("cuda", 0), tf32=False, optimised=True, threads=1))
"""


def write_along(folder: Path, *along: Way) -> dict[str, dict[str, Difference]]:
    """Exports a GAN and its variants, checked along these ways to run them."""
    tensors, about = gan()
    graph = build_graphs(tensors, about)["gan.onnx"]
    contract = make_contract("gan.onnx", graph, about, SETTINGS.tolerance)
    return dict(write_checked(folder, graph, contract, SETTINGS, along))


def test_noise_is_of_the_law_and_as_far_out_as_a_draw_in_a_million() -> None:
    (noise,) = parity_inputs("gan.onnx", NOISE, 0)
    assert (noise[:64].mean().item(), noise[:64].std().item()) == pytest.approx((0, 1), abs=0.05)
    assert noise[64:80].norm(dim=1).numpy() == pytest.approx(np.full(16, 13.4), abs=0.2)  # 10 is usual
    assert sorted(noise[80:95].abs().max(dim=1).values.round(decimals=2).unique().tolist()) == [4.75]
    assert not noise[95:].any()
    (again,) = parity_inputs("gan.onnx", NOISE, 0)
    assert torch.equal(noise, again)


@pytest.mark.parametrize("classes", [3, 500])
def test_every_label_is_asked_for(classes: int) -> None:
    noise, labels = parity_inputs("gan.onnx", [*NOISE, {"name": "label", "shape": ["N"]}], classes)
    assert set(labels.tolist()) == set(range(classes))
    assert len(noise) == len(labels)


def test_both_graphs_are_run_at_every_batch_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    run = parity.run_onnx
    monkeypatch.setattr(
        parity, "run_onnx", lambda running, *given: [seen.append(len(given[0])), run(running, *given)][1]
    )
    found = write_along(tmp_path, *CPU)
    assert [list(each) for each in found.values()] == [["cpu, graph as it stands", "cpu, graph optimised"]] * 4
    assert set(seen) == set(BATCHES) == {1, 2, 3, 7, 16, 64}


@pytest.mark.gpu
@pytest.mark.skipif(CUDA not in ort.get_available_providers(), reason="this ONNX Runtime has no CUDA in it")
def test_on_a_gpu_every_file_agrees_with_and_without_tf32(tmp_path: Path) -> None:
    found = write_along(tmp_path, *ways("auto", threads=1))
    assert all(len(each) == 6 for each in found.values())
    exact = [one.largest for way, one in found["gan.onnx"].items() if "with TF32" not in way]
    assert max(exact) <= SETTINGS.tolerance
    assert ways("cpu", threads=1) == CPU


def test_a_gpu_that_is_not_used_fails_the_export(tmp_path: Path) -> None:
    """ONNX Runtime itself would take the CPU without a word."""
    hidden = os.environ | {"CUDA_VISIBLE_DEVICES": "-1"}
    done = subprocess.run(
        [sys.executable, "-c", ON_A_GPU, str(tmp_path)], env=hidden, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "does not run on the GPU" in done.stderr


def placed(path: Path, *providers: str) -> Path:
    events = [
        {"name": f"node{number}_kernel_time", "args": {"provider": each}} for number, each in enumerate(providers)
    ]
    path.write_text(json.dumps([{"name": "model_run", "args": {}}, {"name": "session"}, *events]))
    return path


def test_nodes_elsewhere_than_asked_fail_the_export(tmp_path: Path) -> None:
    cuda, cpu = "CUDAExecutionProvider", "CPUExecutionProvider"
    device = torch.device("cuda", 0)
    require_placement("gan.onnx", device, placed(tmp_path / "most", cuda, cuda, cpu))
    for providers in ((cuda, cpu), (cpu,), ()):
        with pytest.raises(UserError, match=r"gan\.onnx: \d of \d nodes ran on the CUDAExecutionProvider"):
            require_placement("gan.onnx", device, placed(tmp_path / "few", *providers))


def test_differences_are_of_values_of_large_ones_by_share_and_of_pixels_by_step() -> None:
    want = np.array([[0, 0.5, 1]])
    found = difference([np.float32([[0, 0.5, 0.996]])], [want], IMAGE, "gan.onnx")
    assert found.largest == pytest.approx(0.004, rel=1e-3)
    assert found.mean == pytest.approx(0.004 / 3, rel=1e-3)
    assert found.pixels == 1
    codes = {"outputs": [{"name": "mean", "dtype": "float32"}]}
    assert difference([np.float32([[9, 10]])], [np.array([[10.0, 10.0]])], codes, "e").largest == pytest.approx(0.1)
    for broken in (np.nan, np.inf):
        with pytest.raises(UserError, match=r"gan\.onnx gives NaN or infinity in image"):
            difference([np.full((1, 3), broken, np.float32)], [want], IMAGE, "gan.onnx")


def test_a_label_out_of_turn_would_be_found(tmp_path: Path) -> None:
    """A graph that confuses labels differs, whatever the noise."""
    tensors, about = conditional_gan()
    graph = build_graphs(tensors, about)["gan.onnx"]
    contract = make_contract("gan.onnx", graph, about, SETTINGS.tolerance)
    list(write_checked(tmp_path, graph, contract, SETTINGS, CPU))
    inputs = parity_inputs("gan.onnx", contract["inputs"], 3)
    wrong = exact_outputs(graph, (inputs[0], inputs[1].flip(0)))
    with pytest.raises(UserError, match="differs from PyTorch"):
        check_parity(tmp_path / "gan.onnx", contract, [one.numpy() for one in inputs], wrong, SETTINGS, CPU)
