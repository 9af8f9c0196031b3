"""Checks Python, the installed libraries, and whether they fit each other and the GPU."""

import importlib.metadata
import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

from flows.doctor.findings import Finding

MIN_PYTHON = (3, 11)
REINSTALL = "rm -r .venv && make setup"
REASONS = {  # for bounds whose violation gives no clear error
    "fastapi": "Prefect's server does not start with newer ones",
    "sqlalchemy": "with newer ones Prefect's schedules make no runs",
}
RUNTIMES = ("onnxruntime", "onnxruntime-gpu")
LIBRARIES_CODE = """
import json, torch, onnxruntime
try:
    from onnxruntime.capi.build_and_package_info import cuda_version
except ImportError:
    cuda_version = None
print(json.dumps({
    "torch_cuda": torch.version.cuda, "onnxruntime_cuda": cuda_version or None, "sees": torch.cuda.is_available(),
    "providers": onnxruntime.get_available_providers(),
}))
"""


def installed() -> dict[str, str]:
    """The version of every installed package by its normalised name."""
    packages = importlib.metadata.distributions()
    return {one.metadata["Name"].lower().replace("_", "-"): one.version for one in packages}


def python_version(version: tuple[int, ...]) -> Finding:
    """Checks that Python is recent enough."""
    fix = "make setup PYTHON=python3.11, or a newer one" if version < MIN_PYTHON else ""
    return Finding("Python", f"{'.'.join(map(str, version))}, {sys.executable}", fix)


def requirements(pyproject: Path, versions: Mapping[str, str]) -> Iterator[Finding]:
    """Checks the installed versions against the bounds in pyproject.toml."""
    lines = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]["dependencies"]
    required = [one for one in map(Requirement, lines) if one.marker is None or one.marker.evaluate()]
    wrong = [one for one in required if not _fits(one, versions.get(one.name.lower()))]
    for one in wrong:
        reason = f" ({REASONS[one.name]})" if one.name in REASONS else ""
        version = versions.get(one.name.lower(), "is missing")
        yield Finding("libraries", f"{one.name} {version}, needed is {one.name}{one.specifier}{reason}", REINSTALL)
    if not wrong:
        yield Finding("libraries", f"{len(required)} as pyproject.toml requires, with Prefect {versions['prefect']}")


def _fits(requirement: Requirement, version: str | None) -> bool:
    return version is not None and requirement.specifier.contains(version, prereleases=True)


def onnx_runtimes(versions: Mapping[str, str]) -> Finding:
    """Checks that exactly one ONNX Runtime is installed; two overwrite each other's files."""
    found = [name for name in RUNTIMES if name in versions]
    if len(found) == 1:
        return Finding("ONNX Runtime", f"{found[0]} {versions[found[0]]} alone")
    fix = f"pip uninstall -y onnxruntime onnxruntime-gpu && {REINSTALL}"
    return Finding("ONNX Runtime", " and ".join(found) or "none is installed", fix)


def graphics(libraries: Mapping[str, Any] | str, machine: Mapping[str, object]) -> Iterator[Finding]:
    """Checks that PyTorch and ONNX Runtime were built for the same CUDA version and can use the GPU, if there is one.

    `libraries` is what LIBRARIES_CODE printed, or its error message.
    """
    if isinstance(libraries, str):
        yield Finding("PyTorch", f"cannot be loaded ({libraries})", REINSTALL)
        return
    cuda = {"PyTorch": libraries["torch_cuda"], "ONNX Runtime": libraries["onnxruntime_cuda"]}
    text = ", ".join(f"{name} {version or 'without CUDA'}" for name, version in cuda.items())
    majors = {str(version).partition(".")[0] for version in cuda.values() if version}
    yield Finding("CUDA", text, f"the CUDA versions differ: {REINSTALL}" if len(majors) > 1 else "")
    usable = machine["gpu"] is None or "CUDAExecutionProvider" in libraries["providers"]
    fix = "" if usable else f"the build for CPUs is installed: {REINSTALL}"
    yield Finding("providers", ", ".join(libraries["providers"]), fix)
    if machine["gpu"] is None:
        yield Finding("GPU", "nvidia-smi finds none; everything runs on the CPU")
        return
    fix = "" if libraries["sees"] else f"PyTorch does not see it: install a driver for CUDA {libraries['torch_cuda']}"
    yield Finding("GPU", f"{machine['gpu']}, driver {machine['driver']}", fix)
