"""Measures the speed of the exported files and of PyTorch: `python bench/inference.py [--json FILE]`.

The code of the export stage makes gan.onnx and its variants from random weights, whose values do not change the speed.
They are compared with the same network in PyTorch, eager and compiled, and with a plain `session.run`. All take turns
in short slices of time, so that other load on the machine affects all alike. The network is that of `quick` on the CPU;
where there is an NVIDIA GPU, the textbook network for 64x64 RGB images is measured there too.
"""

import argparse
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import torch
from arguments import parse, parser
from rows import Row, at_least, at_most, publish

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from models.networks.gan import GanConfig, Generator  # noqa: E402 - the project is no installed package
from tasks.common.params import PARAMS_FILE, load_params  # noqa: E402
from tasks.export.files import PROVENANCE, make_contract, write_checked  # noqa: E402
from tasks.export.gan import GanGraph  # noqa: E402
from tasks.export.parity import ways  # noqa: E402
from tasks.export.session import CUDA, session  # noqa: E402
from tasks.export.variants import to_static  # noqa: E402

BATCHES = (1, 16, 64, 256)
ENDS = (BATCHES[0], BATCHES[-1])
QUICK = GanConfig(size=28, image_channels=1, noise=100, classes=0, channels=32, upsample="transposed")
TEXTBOOK = GanConfig(size=64, image_channels=3, noise=100, classes=0, channels=64, upsample="transposed")
EAGER, COMPILED, PLAIN = "torch eager", "torch.compile", "session.run, default session"
OURS = "gan.onnx, our session"  # tasks/export/session.py
EXACT = f"{OURS}, without TF32"
BOUND, FIXED = f"{OURS}, IO binding", "a fixed batch, IO binding"
GRAPHED = "gan.onnx, IO binding, CUDA graph"
SEARCHES = ("HEURISTIC", "DEFAULT", "EXHAUSTIVE")  # for a convolution's fastest algorithm
REQUIRED_OF = ("H100", "H200")
Call = Callable[[], object]
Seconds = dict[tuple[int, str], list[float]]  # seconds of every call, by batch size and runner


def main() -> None:
    """Measures, prints a table and writes the JSON."""
    made = parser(__doc__)
    made.add_argument("--rounds", type=int, default=10)
    made.add_argument("--seconds", type=float, default=0.3, help="seconds of each slice; at least three calls")
    made.add_argument("--threads", type=int, default=2, help="threads of torch and of our sessions on the CPU")
    given = parse(made, rounds=1, seconds=0.0, threads=1)
    torch.set_num_threads(given.threads)
    print(f"torch {torch.__version__}, ONNX Runtime {ort.__version__}, {given.threads} threads", flush=True)
    with tempfile.TemporaryDirectory() as place:
        rows = measured(cpu_calls, small(QUICK) if given.tiny else QUICK, Path(place) / "cpu", given)
        if torch.cuda.is_available():
            rows += measured(cuda_calls, small(TEXTBOOK) if given.tiny else TEXTBOOK, Path(place) / "cuda", given)
        else:
            rows += cuda_bounds({})
    publish(rows, given.json)


def small(shape: GanConfig) -> GanConfig:
    """Returns the same network with few channels."""
    return shape.model_copy(update={"channels": 4})


def measured(
    calls: Callable[..., dict[str, Call]], shape: GanConfig, folder: Path, given: argparse.Namespace
) -> list[Row]:
    """Measures one device and returns its rows."""
    graph, parity = exported(shape, folder, given.threads)
    runs = {
        (batch, name): call
        for batch in (ENDS if given.tiny else BATCHES)
        for name, call in calls(graph, folder, batch, given.threads).items()
    }
    seconds = Seconds()
    for _ in range(given.rounds):
        for key, call in runs.items():
            seconds.setdefault(key, []).extend(timed(call, given.seconds))
    device = "cpu" if calls is cpu_calls else "cuda"
    bounds = cpu_bounds(seconds) if device == "cpu" else cuda_bounds(seconds)
    return [*parity, *(row for key, each in seconds.items() for row in three(device, *key, each)), *bounds]


def exported(shape: GanConfig, folder: Path, threads: int) -> tuple[GanGraph, list[Row]]:
    """Writes gan.onnx and its variants; returns the network, and how far the files are from it."""
    folder.mkdir()
    torch.manual_seed(0)
    graph = GanGraph(Generator(shape)).eval()
    origin = {key: dict[str, str]() for key in PROVENANCE}
    about = {"model": "gan", "shape": shape.model_dump(), "labels": [], **origin}
    settings = load_params(ROOT / PARAMS_FILE).export
    contract = make_contract("gan.onnx", graph, about, settings.tolerance)
    found = dict(write_checked(folder, graph, contract, settings, ways("auto", threads)))
    parity = [
        Row(f"{file} on {way}, farthest from float64 PyTorch", one.largest)
        for file, differences in found.items()
        for way, one in differences.items()
    ]
    return graph, parity


def timed(call: Call, seconds: float) -> list[float]:
    """Returns the seconds of each call in a slice of time, after one that does not count."""
    call()
    found, start = [], time.perf_counter()
    while len(found) < 3 or time.perf_counter() - start < seconds:
        began = time.perf_counter()
        call()
        found.append(time.perf_counter() - began)
    return found


def cpu_calls(graph: GanGraph, folder: Path, batch: int, threads: int) -> dict[str, Call]:
    """Returns functions that generate one batch, by name."""
    noise = torch.randn(batch, graph.generator.layers[0].in_features)
    files = {name: folder / f"{name}.onnx" for name in ("gan", "gan.float16", "gan.uint8")}
    fixed = fixed_batch(files["gan"], batch)
    plain = ort.InferenceSession(files["gan"].as_posix(), providers=["CPUExecutionProvider"])
    ours = session(files["gan"], threads)
    return {
        EAGER: torch_call(graph, noise),
        **compiled(graph, noise),
        PLAIN: lambda: plain.run(None, {"noise": noise.numpy()}),
        OURS: lambda: ours.run(None, {"noise": noise.numpy()}),
        BOUND: bound_call(session(files["gan"], threads), noise),
        FIXED: bound_call(session(fixed, threads), noise),
        "gan.uint8.onnx, IO binding": bound_call(session(files["gan.uint8"], threads), noise),
        "gan.float16.onnx, IO binding": bound_call(session(files["gan.float16"], threads), noise),
    }


def compiled(graph: GanGraph, noise: torch.Tensor, **options: str) -> dict[str, Call]:
    """Returns the network under torch.compile; empty where there is no C compiler, which it needs."""
    if not any(map(shutil.which, (os.environ.get("CC", "cc"), "gcc", "clang"))):
        print(f"{COMPILED}: left out, since there is no C compiler here", flush=True)
        return {}
    return {COMPILED: torch_call(torch.compile(graph, fullgraph=True, **options), noise)}


def cuda_calls(graph: GanGraph, folder: Path, batch: int, threads: int) -> dict[str, Call]:
    """Does the same on a GPU; ONNX Runtime multiplies in TF32 by default, so PyTorch does too, in every layer."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32
    device = torch.device("cuda")
    there, noise = graph.to(device), torch.randn(batch, graph.generator.layers[0].in_features, device=device)
    file, fixed, given = folder / "gan.onnx", fixed_batch(folder / "gan.onnx", batch), noise.cpu().numpy()
    plain, exact = cuda_session(file), on_the_gpu(session(file, threads, device), file)
    calls: dict[str, Call] = {
        EAGER: torch_call(there, noise),
        **compiled(there, noise, mode="reduce-overhead"),
        PLAIN: lambda: plain.run(None, {"noise": given}),
        EXACT: lambda: exact.run(None, {"noise": given}),
    }
    for search in SEARCHES:
        options = {"cudnn_conv_algo_search": search}
        calls[f"gan.onnx, IO binding, {search.lower()} search"] = bound_call(cuda_session(file, options), noise)
    for name, path in (
        (GRAPHED, file),
        ("a fixed batch, IO binding, CUDA graph", fixed),
        ("gan.uint8.onnx, IO binding, CUDA graph", folder / "gan.uint8.onnx"),
        ("gan.float16.onnx, IO binding, CUDA graph", folder / "gan.float16.onnx"),
    ):
        calls[name] = bound_call(cuda_session(path, {"enable_cuda_graph": "1"}), noise)
    return calls


def cuda_session(file: Path, options: dict[str, str] | None = None) -> ort.InferenceSession:
    """Opens a session with the provider's defaults or options; ends the process if it falls back to the CPU."""
    quiet = ort.SessionOptions()
    quiet.log_severity_level = 3
    running = ort.InferenceSession(file.as_posix(), quiet, providers=[(CUDA, options or {}), "CPUExecutionProvider"])
    return on_the_gpu(running, file)


def on_the_gpu(running: ort.InferenceSession, file: Path) -> ort.InferenceSession:
    """Returns the session if it runs on the GPU; otherwise ONNX Runtime would fall back to the CPU silently."""
    if running.get_providers()[0] != CUDA:
        sys.exit(f"error: ONNX Runtime does not run {file.name} on the GPU that PyTorch sees")
    running.disable_fallback()
    return running


def fixed_batch(file: Path, batch: int) -> Path:
    """Writes the static variant of this batch size beside the file, and returns its path."""
    settings = load_params(ROOT / PARAMS_FILE).export.model_copy(update={"static_batch": batch})
    path = file.with_name(f"fixed{batch}.onnx")
    onnx.save(to_static(onnx.load(file), settings), path)
    return path


def torch_call(network: Callable[[torch.Tensor], torch.Tensor], noise: torch.Tensor) -> Call:
    """Returns a call that runs the network without gradients and waits for the result."""

    @torch.inference_mode()
    def generate() -> None:
        network(noise)
        if noise.is_cuda:
            torch.cuda.synchronize()

    return generate


def bound_call(running: ort.InferenceSession, noise: torch.Tensor) -> Call:
    """Returns a call whose input and output are bound to memory on the device of the noise."""
    [output], number = running.get_outputs(), noise.device.index or 0
    dtype = torch.uint8 if output.type == "tensor(uint8)" else torch.float32
    images = torch.empty(len(noise), *output.shape[1:], dtype=dtype, device=noise.device)
    binding = running.io_binding()
    for bind, name, tensor in (
        (binding.bind_input, "noise", noise),
        (binding.bind_output, output.name, images),
    ):
        kind = np.uint8 if tensor.dtype == torch.uint8 else np.float32
        bind(name, noise.device.type, number, kind, tuple(tensor.shape), tensor.data_ptr())
    kept = (noise, images)  # keeps the bound memory alive as long as the call

    def generate() -> tuple[torch.Tensor, ...]:
        running.run_with_iobinding(binding)
        return kept

    return generate


def three(device: str, batch: int, name: str, seconds: list[float]) -> list[Row]:
    """Returns median and 99th percentile of the calls, and images per second."""
    return [
        Row(f"{device}, batch {batch}, {name}", 1e3 * statistics.median(seconds), "ms"),
        Row("    99th percentile", 1e3 * float(np.quantile(seconds, 0.99)), "ms"),
        Row("    images", batch * len(seconds) / sum(seconds), "per s"),
    ]


def cpu_bounds(seconds: Seconds) -> list[Row]:
    """Returns the requirement for a CPU."""
    return [at_least("cpu, batch 1: our session over torch eager", times(seconds, 1, OURS), 2.5, "times")]


def cuda_bounds(seconds: Seconds) -> list[Row]:
    """Returns the requirements for an H100; unmeasured on other GPUs."""
    applies = bool(seconds) and any(name in torch.cuda.get_device_name() for name in REQUIRED_OF)
    found: tuple[float | None, float | None, float | None] = (None, None, None)
    if applies:
        best = min(
            {name for _, name in seconds} - {EAGER, COMPILED, PLAIN}, key=lambda name: middle(seconds, 256, name)
        )
        found = 1e3 * middle(seconds, 1, GRAPHED), times(seconds, 1, GRAPHED), times(seconds, 256, best)
    return [
        at_most("H100, batch 1: a CUDA graph", found[0], 0.12, "ms"),
        at_least("H100, batch 1: a CUDA graph over torch eager", found[1], 4, "times"),
        at_least("H100, batch 256: the best of ours over torch eager", found[2], 2, "times"),
    ]


def middle(seconds: Seconds, batch: int, name: str) -> float:
    """Returns the median seconds of a call."""
    return statistics.median(seconds[batch, name])


def times(seconds: Seconds, batch: int, name: str) -> float:
    """Returns how many times as fast as torch eager a call is."""
    return middle(seconds, batch, EAGER) / middle(seconds, batch, name)


if __name__ == "__main__":
    main()
