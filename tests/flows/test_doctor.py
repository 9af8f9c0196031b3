"""`make doctor`: every fault has its line and its cure, and a machine in order has none."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from flows.doctor.__main__ import disk, dvc_remote, identity, prefect_server
from flows.doctor.findings import Finding
from flows.doctor.libraries import graphics, installed, onnx_runtimes, python_version, requirements
from tests.flows.conftest import ROOT, Toy

LIBRARIES = {"torch_cuda": "13.0", "onnxruntime_cuda": "13.0", "sees": True, "providers": ["CUDAExecutionProvider"]}
GPU, NO_GPU = {"gpu": "NVIDIA H100", "driver": "580.1"}, {"gpu": None, "driver": None}


def wrong(findings: list[Finding]) -> list[str]:
    return [f"{one.result}; {one.fix}" for one in findings if one.fix]


def test_this_environment_has_what_it_needs() -> None:
    assert not wrong([python_version(sys.version_info[:3]), onnx_runtimes(installed())])
    assert not wrong([*requirements(ROOT / "pyproject.toml", installed())])


@pytest.mark.parametrize(("name", "version"), [("sqlalchemy", "2.1.0"), ("fastapi", "0.165.0")])
def test_the_traps_of_prefects_server_are_named(name: str, version: str) -> None:
    [said] = wrong([*requirements(ROOT / "pyproject.toml", installed() | {name: version})])
    assert f"{name} {version}, needed is {name}<" in said and "Prefect's" in said and "make setup" in said


def test_a_library_that_is_missing_is_named() -> None:
    versions = {name: version for name, version in installed().items() if name != "scipy"}
    assert "scipy is missing, needed is scipy>=" in wrong([*requirements(ROOT / "pyproject.toml", versions)])[0]


def test_both_onnx_runtimes_at_once_or_neither() -> None:
    both = onnx_runtimes({"onnxruntime": "1.31.1", "onnxruntime-gpu": "1.31.1"})
    assert both.result == "onnxruntime and onnxruntime-gpu" and "pip uninstall -y" in both.fix
    assert onnx_runtimes({}).fix


@pytest.mark.parametrize(
    ("libraries", "here", "words"),
    [
        (LIBRARIES, GPU, ""),
        (LIBRARIES | {"sees": False, "providers": ["CPUExecutionProvider"]}, NO_GPU, "CPUExecution"),
        (LIBRARIES | {"onnxruntime_cuda": "12.8"}, GPU, "PyTorch 13.0, ONNX Runtime 12.8; the CUDA versions differ"),
        (LIBRARIES | {"sees": False}, GPU, "driver 580.1; PyTorch does not see it: install a driver for CUDA 13.0"),
        (LIBRARIES | {"providers": ["CPUExecutionProvider"]}, GPU, "the build for CPUs is installed"),
        ("ImportError: libcudart.so.13", GPU, "cannot be loaded (ImportError: libcudart.so.13)"),
    ],
)
def test_the_gpu_and_what_was_built_for_it(
    libraries: dict[str, object] | str, here: dict[str, object], words: str
) -> None:
    said = wrong([*graphics(libraries, here)])
    assert len(said) == int(bool(words) and here["gpu"] is not None)
    assert not said or words in said[0]


def test_old_python_and_full_disk() -> None:
    assert python_version((3, 10, 4)).fix and disk(10**9).fix and not disk(10**10).fix


def test_git_dvc_and_server(toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(toy.path)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    for name in ("NAME", "EMAIL"):
        for who in ("AUTHOR", "COMMITTER"):
            monkeypatch.delenv(f"GIT_{who}_{name}", raising=False)
    assert identity(toy.path).fix.startswith("git config --global user.name")
    assert dvc_remote(toy.path, tmp_path) == Finding("DVC remote", dvc_remote(toy.path, tmp_path).result)
    toy.dvc("remote", "add", "-q", "-d", "far", "ssh://127.0.0.1:9/nowhere")
    assert "make remote URL=" in dvc_remote(toy.path, tmp_path).fix
    toy.dvc("remote", "modify", "-q", "far", "url", str(tmp_path / "near"))
    assert not dvc_remote(toy.path, tmp_path).fix
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    assert prefect_server(tmp_path).fix == "start it, or unset PREFECT_API_URL"


def test_from_a_terminal(toy: Toy) -> None:
    shutil.copy(ROOT / "pyproject.toml", toy.path)
    command = [sys.executable, "-m", "flows.doctor"]
    done = subprocess.run(command, cwd=toy.path, env=toy.environment(), capture_output=True, text=True, check=False)
    lines = done.stdout.splitlines()
    assert len(lines) >= 8 and all(line.startswith(("ok  ", "FAIL")) for line in lines), done.stderr
    assert done.returncode == int(any(line.startswith("FAIL") for line in lines))
