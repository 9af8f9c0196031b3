"""Measurements end rather than measure something else than they say."""

from dataclasses import replace
from pathlib import Path
from types import ModuleType

import onnxruntime as ort
import pytest
import torch

from models.training.device import Mode
from tests.conftest import ROOT

CPU = Mode(torch.device("cpu"), None, torch.contiguous_format, "for a test")


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> None:
    """Modules of bench/ are imported as its scripts import them."""
    monkeypatch.syspath_prepend(str(ROOT / "bench"))


@pytest.fixture
def train_speed(bench: None) -> ModuleType:
    import train_speed

    return train_speed


def test_products_are_in_tf32_where_convolutions_are(train_speed: ModuleType) -> None:
    products, convolutions = torch.backends.cuda.matmul, torch.backends.cudnn
    before = products.allow_tf32
    with train_speed.products_as_convolutions():
        assert products.allow_tf32 == convolutions.allow_tf32
        assert products.allow_tf32 != before, "PyTorch treats both alike by now"
    assert products.allow_tf32 == before


def test_a_session_that_fell_back_to_the_cpu_ends_the_measurement(bench: None, tmp_path: Path) -> None:
    from inference import on_the_gpu

    from tests.tasks.bundle.exported import save_generator

    save_generator(tmp_path / "gan/gan.onnx", "noise")
    running = ort.InferenceSession((tmp_path / "gan/gan.onnx").as_posix(), providers=["CPUExecutionProvider"])
    with pytest.raises(SystemExit, match=r"does not run gan\.onnx on the GPU"):
        on_the_gpu(running, tmp_path / "gan/gan.onnx")


def test_missing_outputs_are_not_equal_bits(bench: None, tmp_path: Path) -> None:
    from checkouts import Checkout
    from resume import TRAININGS, written

    with pytest.raises(SystemExit, match=r"train_gan did not write data/weights/gan, data/curves/gan\.csv"):
        written(Checkout(tmp_path), TRAININGS[1])


def test_a_step_that_is_not_captured_ends_the_measurement(train_speed: ModuleType, tmp_path: Path) -> None:
    from models.training.steps import CaptureError

    split = train_speed.packed(tmp_path, train_speed.synthetic(100), 28)
    work, mode = train_speed.Work("gan", 28, 8), replace(CPU, captured=True)
    with pytest.raises(CaptureError):
        next(train_speed.engine(work, split, mode, share=1.0))


def test_a_neighbour_that_does_not_start_ends_the_measurement(
    bench: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import neighbours

    broken = tmp_path / "broken.py"
    broken.write_text("")
    monkeypatch.setattr(neighbours, "__file__", str(broken))
    with (
        pytest.raises(SystemExit, match="did not start"),
        neighbours.beside(neighbours.SETTINGS[0], neighbours.MULTIPLYING, 4),
    ):
        pass
