"""Runs .onnx files with ONNX Runtime: on the CPU, whose results are reproducible, or on a GPU for many images."""

from pathlib import Path

import numpy as np
import onnxruntime as ort
import torch

from tasks.common.errors import UserError
from tasks.export.checks import read_model, unfit

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"
FLOAT32 = {"use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"}  # as exact as a CPU, and deterministic


def session(
    path: Path,
    threads: int,
    device: torch.device | None = None,
    *,
    tf32: bool = False,
    optimised: bool = True,
    profile: Path | None = None,
) -> ort.InferenceSession:
    """Returns a session on `device`, by default the CPU, with this many CPU threads.

    `tf32` lets a GPU multiply in TF32, `optimised` lets ONNX Runtime change the graph, and `profile` is the prefix of a
    file that records where every node ran. Raises UserError when the file cannot be run, and when ONNX Runtime cannot
    use the GPU, where it would use the CPU without a message. It needs the CUDA libraries that PyTorch has loaded.
    """
    data = read_model(path)[1]
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    if not optimised:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    if profile is not None:
        options.enable_profiling, options.profile_file_prefix = True, profile.as_posix()
    providers: list[str | tuple[str, dict[str, str]]] = [CPU]
    if device is not None and device.type == "cuda":
        if CUDA not in ort.get_available_providers():
            raise _no_gpu("the installed package was built without CUDA")
        settings = FLOAT32 | {"device_id": str(device.index or 0), "use_tf32": str(int(tf32))}
        providers = [(CUDA, settings), CPU]
    try:
        running = ort.InferenceSession(data, options, providers=providers)
    except Exception as error:  # the exceptions of ONNX Runtime have no other common class
        raise unfit(path, " ".join(str(error).splitlines()[0].split())) from None
    if len(providers) > 1 and running.get_providers()[0] != CUDA:
        raise _no_gpu("it finds no matching driver or libraries of CUDA")
    return running


def _no_gpu(why: str) -> UserError:
    return UserError(
        f"ONNX Runtime {ort.__version__} does not run on the GPU: {why}; "
        "install the onnxruntime-gpu of requirements.lock, or set device to cpu in params.yaml"
    )


def run_onnx(running: ort.InferenceSession, *inputs: np.ndarray) -> list[np.ndarray]:
    """Returns every output for one batch of inputs in the graph's order; raises UserError when the model fails."""
    names = [tensor.name for tensor in running.get_inputs()]
    try:
        outputs = running.run(None, dict(zip(names, inputs, strict=True)))
    except Exception as error:  # as above
        reason, shapes = " ".join(str(error).split()), " and ".join(str(array.shape) for array in inputs)
        raise UserError(f"the model fails on {shapes} inputs, at batch size {len(inputs[0])}: {reason}") from None
    return [np.asarray(output) for output in outputs]


def run_in_batches(running: ort.InferenceSession, *inputs: np.ndarray) -> list[np.ndarray]:
    """Returns the same for any number of rows; a file with a fixed batch gets full batches, which wrap around."""
    batch, size = running.get_inputs()[0].shape[0], len(inputs[0])
    if not isinstance(batch, int):
        return run_onnx(running, *inputs)
    batches = [np.arange(start, start + batch) % size for start in range(0, size, batch)]
    parts = [run_onnx(running, *(array[rows] for array in inputs)) for rows in batches]
    return [np.concatenate(outputs)[:size] for outputs in zip(*parts, strict=True)]
