"""A file against PyTorch in float64, along every way to run it that this machine has, at many batch sizes."""

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
NORMAL, FAR, SPIKES, BLANK = 64, 16, 15, 1  # rows of each kind; see `parity_inputs`
RARE = 1e-6  # the chance of noise as far out as the extreme rows
Arrays = Sequence[np.ndarray]


@dataclass(frozen=True)
class Way:
    """One way to run a file."""

    device: torch.device
    tf32: bool
    optimised: bool
    threads: int  # of the CPU

    def __str__(self) -> str:
        product = "" if self.device.type == "cpu" else " with TF32" if self.tf32 else " without TF32"
        return f"{self.device.type}{product}, graph {'optimised' if self.optimised else 'as it stands'}"


@dataclass(frozen=True)
class Difference:
    """How far outputs are from float64: the largest and the mean, and the largest of 8-bit pixels, in steps.

    Of outputs above 1, such as codes, it is a share of the largest; of uint8 it is in steps.
    """

    largest: float
    mean: float
    pixels: int


def ways(device: DeviceName, threads: int) -> list[Way]:
    """The CPU's, and a GPU's where PyTorch sees one and the CPU alone is not asked for."""
    places = [(torch.device("cpu"), False)]
    if device != "cpu" and torch.cuda.is_available():
        places += [(torch.device("cuda", 0), tf32) for tf32 in (False, True)]
    return [Way(place, tf32, optimised, threads) for place, tf32 in places for optimised in (False, True)]


def parity_inputs(name: str, inputs: Sequence[Contract], classes: int) -> tuple[Tensor, ...]:
    """Seeded inputs for the graph `name`: float32 noise, codes or images, and int64 labels where they are told.

    Noise: 64 rows of its law; 16 as far from 0, and 15 with one number as far from it, as one draw in a million is;
    one of zeros. Images: uniform, black and white by pixel, flat. Every label in turn; more rows where there are more.
    """
    random = stream(0, f"parity {name}")
    shape = inputs[0]["shape"][1:]
    count = max(NORMAL + FAR + SPIKES + BLANK, classes)
    make = _images if len(shape) == 3 else _noise
    first = make(count, shape, random)
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
    levels = torch.linspace(0, 1, SPIKES + BLANK)
    rows[NORMAL + FAR : NORMAL + FAR + SPIKES + BLANK] = levels.view(-1, *(1 for _ in shape))
    return rows


def exact_outputs(graph: nn.Module, inputs: tuple[Tensor, ...]) -> list[np.ndarray]:
    """What the graph gives for them in float64."""
    with torch.no_grad():
        outputs = copy.deepcopy(graph).double()(inputs[0].double(), *inputs[1:])
    return [output.numpy() for output in (outputs if isinstance(outputs, tuple) else (outputs,))]


def check_parity(
    path: Path, contract: Contract, inputs: Arrays, exact: Arrays, settings: ExportSettings, along: Sequence[Way]
) -> dict[str, Difference]:
    """How far the file is from `exact`, the float64 outputs for `inputs`, along each way to run it.

    Raises UserError where it is farther than its tolerance, gives other shapes, or does not run where it should.
    """
    wanted = [_as_promised(array, output) for array, output in zip(exact, contract["outputs"], strict=True)]
    return {str(way): _along(way, path, contract, inputs, wanted, settings) for way in along}


def _along(
    way: Way, path: Path, contract: Contract, inputs: Arrays, wanted: Arrays, settings: ExportSettings
) -> Difference:
    found = [
        difference(got, [want[rows] for want in wanted], contract, f"{path.name} on the {way}")
        for rows, got in _runs(way, path, contract, inputs)
    ]
    largest = max(one.largest for one in found)
    bound = max(contract["tolerance"], settings.tolerance_tf32 if way.tf32 else 0)
    if not largest <= bound:
        raise UserError(
            f"{path.name} differs from PyTorch by {largest:.1e} on the {way}, more than the {bound:.0e} that "
            "params.yaml allows under `export`; it was not written"
        )
    return Difference(largest, sum(one.mean for one in found) / len(found), max(one.pixels for one in found))


def _runs(way: Way, path: Path, contract: Contract, inputs: Arrays) -> Iterator[tuple[np.ndarray, list[np.ndarray]]]:
    """Every row at every batch size that the file takes: which rows, and what it gave."""
    size, fixed = len(inputs[0]), contract["inputs"][0]["shape"][0]
    batches = BATCHES if fixed == "N" else (fixed,)
    running = _placed(way, path, [given[np.arange(batches[-1]) % size] for given in inputs])
    for batch in batches:
        for start in range(0, size, batch):
            rows = np.arange(start, start + batch) % size
            yield rows, run_onnx(running, *(given[rows] for given in inputs))


def _placed(way: Way, path: Path, inputs: Arrays) -> ort.InferenceSession:
    """A session whose nodes were seen to run where they should."""
    with tempfile.TemporaryDirectory() as folder:
        profile = Path(folder) / "profile"
        running = session(path, way.threads, way.device, tf32=way.tf32, optimised=way.optimised, profile=profile)
        run_onnx(running, *inputs)
        require_placement(path.name, way.device, Path(running.end_profiling()))  # type: ignore[no-untyped-call]
    return running


def require_placement(name: str, device: torch.device, profile: Path) -> None:
    """Raises UserError unless most nodes ran on the device, as ONNX Runtime's own profile tells."""
    events = json.loads(profile.read_text(encoding="utf-8"))
    ran = {event["name"]: event["args"]["provider"] for event in events if event.get("args", {}).get("provider")}
    asked, counts = CPU if device.type == "cpu" else CUDA, Counter(ran.values())
    if counts[asked] <= len(ran) / 2:
        raise UserError(
            f"{name}: {counts[asked]} of {len(ran)} nodes ran on the {asked} that was asked for, the others elsewhere; "
            "install the onnxruntime-gpu of requirements.lock, or hide the GPU (CUDA_VISIBLE_DEVICES=-1)"
        )


def difference(got: Arrays, wanted: Arrays, contract: Contract, what: str) -> Difference:
    """How far outputs are from those wanted; raises UserError where types or shapes are not theirs, and at a NaN."""
    largest, mean, pixels = 0.0, 0.0, 0
    for output, want, promise in zip(got, wanted, contract["outputs"], strict=True):
        if output.shape != want.shape or output.dtype != np.dtype(promise["dtype"]):
            raise UserError(f"{what} gives {output.dtype} {output.shape} where {promise['dtype']} {want.shape} belongs")
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
    """Float64 outputs as they are, or rounded and turned as a uint8 file must give them."""
    return _bytes(exact).transpose(0, 2, 3, 1) if output["dtype"] == "uint8" else exact


def _bytes(images: np.ndarray) -> np.ndarray:
    """Images in [0, 1] as uint8; bytes as they are."""
    return images if images.dtype == np.uint8 else to_bytes(torch.from_numpy(images)).numpy()
