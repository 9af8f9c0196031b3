"""Devices, threads, and what determines the bits of a training."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from models.training.device import choose_mode, exact_float32, repeat_exactly
from tasks.common import runtime
from tasks.common.errors import UserError
from tasks.common.params import load_params
from tasks.common.runtime import prepare_evaluation, trained_with
from tests.conftest import ROOT, WORKSPACE, kept_settings

PARAMS = load_params().model_copy(update={"threads": 1})


def test_a_missing_gpu_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match=r"params\.yaml: device is cuda, but .*; set it to auto or cpu"):
        prepare_evaluation(PARAMS.model_copy(update={"device": "cuda"}))
    assert prepare_evaluation(PARAMS).type == "cpu"


def test_the_cpu_is_chosen_on_request() -> None:
    assert prepare_evaluation(PARAMS.model_copy(update={"device": "cpu"})).type == "cpu"


@pytest.mark.gpu
def test_auto_chooses_the_gpu() -> None:
    assert prepare_evaluation(PARAMS).type == "cuda"


@pytest.mark.parametrize(
    ("kind", "deterministic", "exact"), [("cuda", "on", True), ("cuda", "off", False), ("cpu", "on", False)]
)
def test_only_a_gpu_is_made_deterministic_on_request(
    kind: str, deterministic: str, exact: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    monkeypatch.setattr(runtime, "choose_device", lambda _: torch.device(kind, 0))
    monkeypatch.setattr(runtime, "repeat_exactly", lambda: calls.append(kind))
    prepare_evaluation(PARAMS.model_copy(update={"deterministic": deterministic}))
    assert bool(calls) == exact


def test_kept_settings_restores_torchs_settings() -> None:
    before = torch.are_deterministic_algorithms_enabled(), os.environ.get(WORKSPACE), torch.backends.cudnn.benchmark
    with kept_settings():
        repeat_exactly()
        torch.backends.cudnn.benchmark = True
        assert torch.are_deterministic_algorithms_enabled()
        assert os.environ[WORKSPACE]
    assert before == (
        torch.are_deterministic_algorithms_enabled(),
        os.environ.get(WORKSPACE),
        torch.backends.cudnn.benchmark,
    )


def test_trained_with_names_libraries_mode_device_and_threads() -> None:
    mode = choose_mode("cpu")
    found = trained_with(mode, 2)
    assert found["libraries"] == {"numpy": np.__version__, "torch": torch.__version__.partition("+")[0]}
    assert found["mode"] == mode.name
    assert found["device"] == f"cpu {torch.backends.cpu.get_cpu_capability()}"
    assert found["threads"] == 2


def test_tf32_is_off_inside_exact_float32_only() -> None:
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    with exact_float32():
        assert not torch.backends.cudnn.allow_tf32
        assert not torch.backends.cuda.matmul.allow_tf32
    assert before == (torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32)
    assert before[0]  # PyTorch's default; without it the first assertions would prove nothing


ONE_THREAD_PER_CORE = """
import os, threading, torch
from tasks.common.runtime import limit_threads, pin_threads
cores = sorted(os.sched_getaffinity(0))
limit_threads(len(cores))
torch.ones(1 << 20).add_(1)
assert pin_threads(len(cores))
torch.ones(1 << 20).add_(1)
affinities = [os.sched_getaffinity(int(thread)) for thread in os.listdir("/proc/self/task")]
assert all({core} in affinities for core in cores), affinities
assert not pin_threads(len(cores) + 1) and not pin_threads(len(cores) + 1)
print(os.environ["GOMP_SPINCOUNT"])
"""


def run_python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=ROOT, env=os.environ | environment, capture_output=True, text=True, check=False)


@pytest.mark.skipif(sys.platform != "linux", reason="threads are pinned on Linux only")
def test_as_many_threads_as_cores_are_pinned() -> None:
    done = run_python(ONE_THREAD_PER_CORE)
    assert (done.returncode, done.stdout) == (0, "30000\n"), done.stderr
    assert run_python(ONE_THREAD_PER_CORE, GOMP_SPINCOUNT="7").stdout == "7\n"


@pytest.mark.skipif(sys.platform != "linux", reason="threads are pinned on Linux only")
def test_no_thread_is_pinned_unless_there_is_one_per_core() -> None:
    done = run_python("import os, tasks.common.runtime as r; before = os.sched_getaffinity(0); "
                      "print(r.pin_threads(len(before) + 1), before == os.sched_getaffinity(0))")  # fmt: skip
    assert done.stdout == "False True\n", done.stderr
