"""How fast the files that ship draw, beside PyTorch: `python bench/inference.py [--json FILE]`.

The export stage's own code makes gan.onnx and its variants from fresh weights, whose values do not change the speed.
Beside them run the same network in PyTorch, eager and compiled, and a plain `session.run` as most people write it. All
take turns, a slice of time each, so that what else the machine does falls on all alike. On the CPU the network is that
of `quick`; where there is an NVIDIA GPU, it is there the textbook's for 64x64 RGB images as well.
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
from tasks.export.graphs import GanGraph  # noqa: E402
from tasks.export.parity import ways  # noqa: E402
from tasks.export.session import CUDA, session  # noqa: E402
from tasks.export.variants import to_static  # noqa: E402

BATCHES = (1, 16, 64, 256)
ENDS = (BATCHES[0], BATCHES[-1])
QUICK = GanConfig(size=28, image_channels=1, noise=100, classes=0, channels=32, upsample="transposed")
TEXTBOOK = GanConfig(size=64, image_channels=3, noise=100, classes=0, channels=64, upsample="transposed")
EAGER, COMPILED, PLAIN = "torch eager", "torch.compile", "session.run, as it comes"
OURS = "gan.onnx, our session"  # tasks/export/session.py
EXACT = f"{OURS}, without TF32"
BOUND, FIXED = f"{OURS}, IO binding", "a fixed batch, IO binding"
GRAPHED = "gan.onnx, IO binding, CUDA graph"
SEARCHES = ("HEURISTIC", "DEFAULT", "EXHAUSTIVE")  # for a convolution's fastest algorithm
REQUIRED_OF = ("H100", "H200")
Call = Callable[[], object]
Seconds = dict[tuple[int, str], list[float]]  # of every call by batch size and who ran


def main() -> None:
    """Measures, prints a table and writes the JSON."""
    made = parser(__doc__)
    made.add_argument("--rounds", type=int, default=10)
    made.add_argument("--seconds", type=float, default=0.3, help="of each slice; three calls at least")
    made.add_argument("--threads", type=int, default=2, help="of torch and of our sessions on the CPU")
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
    """The same network with few channels."""
    return shape.model_copy(update={"channels": 4})


def measured(
    calls: Callable[..., dict[str, Call]], shape: GanConfig, folder: Path, given: argparse.Namespace
) -> list[Row]:
    """The rows of one device."""
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
    """Writes gan.onnx and its variants; the network they were made of, and how far the files are from it."""
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
    """Seconds of each call in a slice of time, after one that does not count."""
    call()
    found, start = [], time.perf_counter()
    while len(found) < 3 or time.perf_counter() - start < seconds:
        began = time.perf_counter()
        call()
        found.append(time.perf_counter() - began)
    return found


def cpu_calls(graph: GanGraph, folder: Path, batch: int, threads: int) -> dict[str, Call]:
    """By name, what draws a batch once."""
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
    """PyTorch's own compiler, which needs one of C; nothing where there is none."""
    if not any(map(shutil.which, (os.environ.get("CC", "cc"), "gcc", "clang"))):
        print(f"{COMPILED}: left out, since there is no C compiler here", flush=True)
        return {}
    return {COMPILED: torch_call(torch.compile(graph, fullgraph=True, **options), noise)}


def cuda_calls(graph: GanGraph, folder: Path, batch: int, threads: int) -> dict[str, Call]:
    """The same on a GPU: ONNX Runtime multiplies in TF32 unless told otherwise, so PyTorch does in every layer too."""
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
    """A session as most people open it, or with other options of the provider; ends the process where it falls back."""
    quiet = ort.SessionOptions()
    quiet.log_severity_level = 3
    running = ort.InferenceSession(file.as_posix(), quiet, providers=[(CUDA, options or {}), "CPUExecutionProvider"])
    return on_the_gpu(running, file)


def on_the_gpu(running: ort.InferenceSession, file: Path) -> ort.InferenceSession:
    """The session, if it is there; ONNX Runtime would go on on the CPU, at once or when a run fails."""
    if running.get_providers()[0] != CUDA:
        sys.exit(f"error: ONNX Runtime does not run {file.name} on the GPU that PyTorch sees")
    running.disable_fallback()
    return running


def fixed_batch(file: Path, batch: int) -> Path:
    """The file's static variant of this batch size, written beside it."""
    settings = load_params(ROOT / PARAMS_FILE).export.model_copy(update={"static_batch": batch})
    path = file.with_name(f"fixed{batch}.onnx")
    onnx.save(to_static(onnx.load(file), settings), path)
    return path


def torch_call(network: Callable[[torch.Tensor], torch.Tensor], noise: torch.Tensor) -> Call:
    """A pass without gradients, waited for."""

    @torch.inference_mode()
    def draw() -> None:
        network(noise)
        if noise.is_cuda:
            torch.cuda.synchronize()

    return draw


def bound_call(running: ort.InferenceSession, noise: torch.Tensor) -> Call:
    """A run whose input and output lie in memory that is there already, where the noise is, and stay there."""
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
    kept = (noise, images)  # as long as the call lives, or the memory goes

    def draw() -> tuple[torch.Tensor, ...]:
        running.run_with_iobinding(binding)
        return kept

    return draw


def three(device: str, batch: int, name: str, seconds: list[float]) -> list[Row]:
    """Median and 99th percentile of the calls, and images per second of all of them."""
    return [
        Row(f"{device}, batch {batch}, {name}", 1e3 * statistics.median(seconds), "ms"),
        Row("    99th percentile", 1e3 * float(np.quantile(seconds, 0.99)), "ms"),
        Row("    images", batch * len(seconds) / sum(seconds), "per s"),
    ]


def cpu_bounds(seconds: Seconds) -> list[Row]:
    """What is required on a CPU."""
    return [at_least("cpu, batch 1: our session over torch eager", times(seconds, 1, OURS), 2.5, "times")]


def cuda_bounds(seconds: Seconds) -> list[Row]:
    """What is required of an H100; without a verdict on other GPUs."""
    known = bool(seconds) and any(name in torch.cuda.get_device_name() for name in REQUIRED_OF)
    found: tuple[float | None, float | None, float | None] = (None, None, None)
    if known:
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
    """Median seconds of a call."""
    return statistics.median(seconds[batch, name])


def times(seconds: Seconds, batch: int, name: str) -> float:
    """How many times as fast as torch eager."""
    return middle(seconds, batch, EAGER) / middle(seconds, batch, name)


if __name__ == "__main__":
    main()
