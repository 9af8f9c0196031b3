"""Compares a file with PyTorch in float64, on every device and in every mode that this machine has."""

import copy
import json
import math
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime as ort
import torch
from torch import Tensor, nn

from models.pixels import to_bytes
from models.training.device import DeviceName
from models.training.random import generator as stream
from tasks.common.errors import UserError
from tasks.common.params import ExportSettings
from tasks.export.contract import Contract
from tasks.export.session import CPU, CUDA, run_onnx, session

BATCHES = (1, 2, 3, 7, 16, 64)
NORMAL, FAR, SPIKES, BLANK = 64, 16, 15, 1  # number of rows of each kind; see `parity_inputs`
RARE = 1e-6  # the probability of noise as far from 0 as the extreme rows
Arrays = Sequence[np.ndarray]


@dataclass(frozen=True)
class Way:
    """One way to run a file."""

    device: torch.device
    tf32: bool
    optimised: bool
    threads: int  # on the CPU

    def __str__(self) -> str:
        product = "" if self.device.type == "cpu" else " with TF32" if self.tf32 else " without TF32"
        return f"{self.device.type}{product}, graph {'optimised' if self.optimised else 'as it stands'}"


@dataclass(frozen=True)
class Difference:
    """The largest and the mean absolute difference from float64, and the largest of 8-bit pixels, in steps.

    It is relative to the largest value where that exceeds 1, as in codes, and in steps for uint8.
    """

    largest: float
    mean: float
    pixels: int


def ways(device: DeviceName, threads: int) -> list[Way]:
    """Returns the ways to run a file on the CPU, and on a GPU where PyTorch finds one and `device` is not cpu."""
    modes = [(torch.device("cpu"), False)]
    if device != "cpu" and torch.cuda.is_available():
        modes += [(torch.device("cuda", 0), tf32) for tf32 in (False, True)]
    return [Way(place, tf32, optimised, threads) for place, tf32 in modes for optimised in (False, True)]


def parity_inputs(name: str, inputs: Sequence[Contract], classes: int) -> tuple[Tensor, ...]:
    """Returns seeded inputs for the graph `name`: float32 noise, codes or images, and int64 labels if conditional.

    Noise: 64 normal rows, 16 whose norm and 15 with one element whose value has a probability of one in a million, and
    one of zeros. Images: uniform, black or white by pixel, flat. Every label occurs, with more rows if need be.
    """
    shape, count = inputs[0]["shape"][1:], max(NORMAL + FAR + SPIKES + BLANK, classes)
    first = (_images if len(shape) == 3 else _noise)(count, shape, stream(0, f"parity {name}"))
    return (first, torch.arange(count) % classes) if len(inputs) > 1 else (first,)


def _noise(count: int, shape: Sequence[int], random: torch.Generator) -> Tensor:
    from scipy.stats import chi2, norm

    rows = torch.randn(count, *shape, generator=random)
    far = slice(NORMAL, NORMAL + FAR)
    rows[far] *= math.sqrt(chi2.isf(RARE, shape[0])) / rows[far].norm(dim=1, keepdim=True)
    for number in range(SPIKES):
        rows[NORMAL + FAR + number, number % shape[0]] = float(norm.isf(RARE)) * (-1) ** number
    rows[NORMAL + FAR + SPIKES] = 0
    return rows


def _images(count: int, shape: Sequence[int], random: torch.Generator) -> Tensor:
    rows = torch.rand(count, *shape, generator=random)
    hard = slice(NORMAL, NORMAL + FAR)
    rows[hard] = (rows[hard] > 0.5).float()
    rows[NORMAL + FAR : NORMAL + FAR + SPIKES + BLANK] = torch.linspace(0, 1, SPIKES + BLANK).view(-1, 1, 1, 1)
    return rows


def exact_outputs(graph: nn.Module, inputs: tuple[Tensor, ...]) -> list[np.ndarray]:
    """Returns the outputs of the graph in float64."""
    with torch.no_grad():
        outputs = copy.deepcopy(graph).double()(inputs[0].double(), *inputs[1:])
    return [output.numpy() for output in (outputs if isinstance(outputs, tuple) else (outputs,))]


def check_parity(
    path: Path, contract: Contract, inputs: Arrays, exact: Arrays, settings: ExportSettings, along: Sequence[Way]
) -> dict[str, Difference]:
    """Returns by way how far the file's outputs for `inputs` are from `exact`, those in float64.

    Raises UserError where they exceed the tolerance, have other shapes, or the file does not run on the device.
    """
    wanted = [_as_promised(array, output) for array, output in zip(exact, contract["outputs"], strict=True)]
    differences = {}
    for way in along:
        found = [
            difference(outputs, [want[rows] for want in wanted], contract, f"{path.name} on the {way}")
            for rows, outputs in _runs(way, path, contract, inputs)
        ]
        largest = max(one.largest for one in found)
        bound = max(contract["tolerance"], settings.tolerance_tf32 if way.tf32 else 0)
        if not largest <= bound:
            raise UserError(
                f"{path.name} differs from PyTorch by {largest:.1e} on the {way}, more than the {bound:.0e} that "
                "params.yaml allows under `export`; it was not written"
            )
        mean = sum(one.mean for one in found) / len(found)
        differences[str(way)] = Difference(largest, mean, max(one.pixels for one in found))
    return differences


def _runs(way: Way, path: Path, contract: Contract, inputs: Arrays) -> Iterator[tuple[np.ndarray, list[np.ndarray]]]:
    """Yields the indices of rows and their outputs, for every row at every batch size that the file accepts."""
    size, fixed = len(inputs[0]), contract["inputs"][0]["shape"][0]
    batches = BATCHES if fixed == "N" else (fixed,)
    running = _checked_session(way, path, [array[np.arange(batches[-1]) % size] for array in inputs])
    for batch in batches:
        for start in range(0, size, batch):
            rows = np.arange(start, start + batch) % size
            yield rows, run_onnx(running, *(array[rows] for array in inputs))


def _checked_session(way: Way, path: Path, inputs: Arrays) -> ort.InferenceSession:
    """Returns a session after a run whose profile shows that most nodes ran on the device."""
    with tempfile.TemporaryDirectory() as folder:
        profile = Path(folder) / "profile"
        running = session(path, way.threads, way.device, tf32=way.tf32, optimised=way.optimised, profile=profile)
        run_onnx(running, *inputs)
        require_placement(path.name, way.device, Path(running.end_profiling()))  # type: ignore[no-untyped-call]
    return running


def require_placement(name: str, device: torch.device, profile: Path) -> None:
    """Raises UserError unless most nodes ran on the device, according to the profile of ONNX Runtime."""
    events = json.loads(profile.read_text(encoding="utf-8"))
    ran = {event["name"]: event["args"]["provider"] for event in events if event.get("args", {}).get("provider")}
    provider, counts = CPU if device.type == "cpu" else CUDA, Counter(ran.values())
    if counts[provider] <= len(ran) / 2:
        raise UserError(
            f"{name}: {counts[provider]} of {len(ran)} nodes ran on the {provider}, which was to run them all; "
            "install the onnxruntime-gpu of requirements.lock, or hide the GPU (CUDA_VISIBLE_DEVICES=-1)"
        )


def difference(outputs: Arrays, wanted: Arrays, contract: Contract, what: str) -> Difference:
    """Returns how far outputs are from those wanted; raises UserError for another type or shape, NaN and infinity."""
    largest, mean, pixels = 0.0, 0.0, 0
    for output, want, promise in zip(outputs, wanted, contract["outputs"], strict=True):
        if output.shape != want.shape or output.dtype != np.dtype(promise["dtype"]):
            raise UserError(f"{what} gives {output.dtype} {output.shape} instead of {promise['dtype']} {want.shape}")
        if not np.isfinite(output).all():
            raise UserError(f"{what} gives NaN or infinity in {promise['name']}; it was not written")
        apart = np.abs(output.astype(np.float64) - want)
        if promise["dtype"] != "uint8":
            apart /= max(1.0, float(np.abs(want).max()))
        largest, mean = max(largest, float(apart.max())), max(mean, float(apart.mean()))
        if promise["name"] == "image":
            pixels = max(pixels, int(np.abs(_bytes(output).astype(int) - _bytes(want)).max()))
    return Difference(largest, mean, pixels)


def _as_promised(exact: np.ndarray, output: Contract) -> np.ndarray:
    """Returns float64 outputs as they are, or as uint8 [N, H, W, C] where the contract promises that."""
    return _bytes(exact).transpose(0, 2, 3, 1) if output["dtype"] == "uint8" else exact


def _bytes(images: np.ndarray) -> np.ndarray:
    """Returns images in [0, 1] as uint8, and bytes as they are."""
    return images if images.dtype == np.uint8 else to_bytes(torch.from_numpy(images)).numpy()
