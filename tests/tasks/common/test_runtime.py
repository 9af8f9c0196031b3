"""Where models are judged, and that a GPU which is not there is said."""

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


def test_judging_on_a_gpu_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match=r"params\.yaml: device is cuda, but .*; set it to auto or cpu"):
        prepare_evaluation(PARAMS.model_copy(update={"device": "cuda"}))
    assert prepare_evaluation(PARAMS).type == "cpu"


def test_the_cpu_is_taken_where_it_is_asked_for() -> None:
    assert prepare_evaluation(PARAMS.model_copy(update={"device": "cpu"})).type == "cpu"


@pytest.mark.gpu
def test_the_gpu_is_taken_where_there_is_one() -> None:
    assert prepare_evaluation(PARAMS).type == "cuda"


@pytest.mark.parametrize(
    ("kind", "asked", "exact"), [("cuda", "on", True), ("cuda", "off", False), ("cpu", "on", False)]
)
def test_a_gpu_repeats_itself_where_that_is_asked_for(
    kind: str, asked: str, exact: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []
    monkeypatch.setattr(runtime, "choose_device", lambda _: torch.device(kind, 0))
    monkeypatch.setattr(runtime, "repeat_exactly", lambda: made.append(kind))
    prepare_evaluation(PARAMS.model_copy(update={"deterministic": asked}))
    assert bool(made) == exact


def test_a_test_that_makes_torch_deterministic_leaves_the_next_one_alone() -> None:
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


def test_what_shapes_the_bits_of_a_training_is_told() -> None:
    mode = choose_mode("cpu")
    found = trained_with(mode, 2)
    assert found["libraries"] == {"numpy": np.__version__, "torch": torch.__version__.partition("+")[0]}
    assert found["mode"] == mode.name
    assert found["device"] == f"cpu {torch.backends.cpu.get_cpu_capability()}"
    assert found["threads"] == 2


def test_tf32_is_off_within_and_comes_back() -> None:
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    with exact_float32():
        assert not torch.backends.cudnn.allow_tf32
        assert not torch.backends.cuda.matmul.allow_tf32
    assert before == (torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32)
    assert before[0]  # PyTorch's own default, or the first two lines say nothing


ALONE_ON_ITS_CORE = """
import os, threading, torch
from tasks.common.runtime import limit_threads, spread_threads
cores = sorted(os.sched_getaffinity(0))
limit_threads(len(cores))
torch.ones(1 << 20).add_(1)
assert spread_threads(len(cores))
torch.ones(1 << 20).add_(1)
held = [os.sched_getaffinity(int(thread)) for thread in os.listdir("/proc/self/task")]
assert all({core} in held for core in cores), held
assert not spread_threads(len(cores) + 1) and not spread_threads(len(cores) + 1)
print(os.environ["GOMP_SPINCOUNT"])
"""


def run_python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=ROOT, env=os.environ | environment, capture_output=True, text=True, check=False)


@pytest.mark.skipif(sys.platform != "linux", reason="cores are given out on Linux alone")
def test_as_many_threads_as_cores_have_one_each() -> None:
    done = run_python(ALONE_ON_ITS_CORE)
    assert (done.returncode, done.stdout) == (0, "30000\n"), done.stderr
    assert run_python(ALONE_ON_ITS_CORE, GOMP_SPINCOUNT="7").stdout == "7\n"


@pytest.mark.skipif(sys.platform != "linux", reason="cores are given out on Linux alone")
def test_with_cores_to_spare_no_thread_is_held() -> None:
    done = run_python("import os, tasks.common.runtime as r; before = os.sched_getaffinity(0); "
                      "print(r.spread_threads(len(before) + 1), before == os.sched_getaffinity(0))")  # fmt: skip
    assert done.stdout == "False True\n", done.stderr
