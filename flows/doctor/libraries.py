"""Python, the installed libraries, and whether they and the GPU go together."""

import importlib.metadata
import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

from flows.doctor.findings import Finding

LEAST_PYTHON = (3, 11)
TRAPS = {  # why a bound is there, where what happens beyond it does not tell
    "fastapi": "Prefect's server does not start with newer ones",
    "sqlalchemy": "with newer ones Prefect's schedules make no runs",
}
RUNTIMES = ("onnxruntime", "onnxruntime-gpu")
ASK_LIBRARIES = """
import json, torch, onnxruntime
try:
    from onnxruntime.capi.build_and_package_info import cuda_version
except ImportError:
    cuda_version = None
print(json.dumps({
    "torch": torch.__version__, "torch_cuda": torch.version.cuda, "sees": torch.cuda.is_available(),
    "onnxruntime": onnxruntime.__version__, "onnxruntime_cuda": cuda_version or None,
    "providers": onnxruntime.get_available_providers(),
}))
"""


def installed() -> dict[str, str]:
    """Every installed package and its version."""
    found = importlib.metadata.distributions()
    return {one.metadata["Name"].lower().replace("_", "-"): one.version for one in found}


def python_version(version: tuple[int, ...]) -> Finding:
    """Python itself."""
    text = ".".join(map(str, version))
    old = version < LEAST_PYTHON
    return Finding("Python", f"{text}, {sys.executable}", "make setup PYTHON=python3.11, or a newer one" if old else "")


def requirements(pyproject: Path, versions: Mapping[str, str]) -> Iterator[Finding]:
    """What is installed against the bounds of pyproject.toml, two of which guard Prefect's server."""
    wanted = [
        Requirement(line) for line in tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]["dependencies"]
    ]
    wanted = [one for one in wanted if one.marker is None or one.marker.evaluate()]
    wrong = [one for one in wanted if not _fits(one, versions.get(one.name.lower()))]
    for one in wrong:
        why = f" ({TRAPS[one.name]})" if one.name in TRAPS else ""
        found = f"{one.name} {versions.get(one.name.lower(), 'is missing')}, wanted is {one.name}{one.specifier}{why}"
        yield Finding("libraries", found, "rm -r .venv && make setup")
    if not wrong:
        yield Finding("libraries", f"{len(wanted)} as pyproject.toml wants them, with Prefect {versions['prefect']}")


def _fits(wanted: Requirement, version: str | None) -> bool:
    return version is not None and wanted.specifier.contains(version, prereleases=True)


def onnx_runtimes(versions: Mapping[str, str]) -> Finding:
    """Two packages write the same folder, and which one wins is chance."""
    both = [name for name in RUNTIMES if name in versions]
    if len(both) == 1:
        return Finding("ONNX Runtime", f"{both[0]} {versions[both[0]]} alone")
    cure = "pip uninstall -y onnxruntime onnxruntime-gpu && rm -r .venv && make setup"
    return Finding("ONNX Runtime", " and ".join(both) or "none is installed", cure)


def graphics(libraries: Mapping[str, Any] | str, here: Mapping[str, object]) -> Iterator[Finding]:
    """The GPU, whether PyTorch and ONNX Runtime see it, and whether both were built for one CUDA."""
    if isinstance(libraries, str):
        yield Finding("PyTorch", f"cannot be loaded ({libraries})", "rm -r .venv && make setup")
        return
    cuda = {"PyTorch": libraries["torch_cuda"], "ONNX Runtime": libraries["onnxruntime_cuda"]}
    words = ", ".join(f"{name} {version or 'without CUDA'}" for name, version in cuda.items())
    majors = {str(version).partition(".")[0] for version in cuda.values() if version}
    yield Finding("CUDA", words, "they do not fit together: rm -r .venv && make setup" if len(majors) > 1 else "")
    served = here["gpu"] is None or "CUDAExecutionProvider" in libraries["providers"]
    cure = "" if served else "the build for CPUs is installed: rm -r .venv && make setup"
    yield Finding("providers", ", ".join(libraries["providers"]), cure)
    if here["gpu"] is None:
        yield Finding("GPU", "none that nvidia-smi knows; everything runs on the CPU")
        return
    seen = "" if libraries["sees"] else f"PyTorch does not see it: install a driver for CUDA {libraries['torch_cuda']}"
    yield Finding("GPU", f"{here['gpu']}, driver {here['driver']}", seen)
