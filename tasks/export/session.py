"""ONNX Runtime: on the CPU, the provider whose bytes every machine can repeat, or on a GPU to draw many images."""

from pathlib import Path

import numpy as np
import onnxruntime as ort
import torch

from tasks.common.errors import UserError
from tasks.export.checks import read_model, unfit

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"
FLOAT32 = {"use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"}  # products as exact as a CPU's, the same every time


def session(
    path: Path,
    threads: int,
    device: torch.device | None = None,
    *,
    tf32: bool = False,
    optimised: bool = True,
    profile: Path | None = None,
) -> ort.InferenceSession:
    """A session on `device`, the CPU unless told, with this many CPU threads.

    A GPU may multiply in TF32, the graph may be run as it stands, and where every node ran may be written to a file
    whose name begins with `profile`. Raises UserError when the file is none that may be run, and when ONNX Runtime
    does not run on that GPU: it would go on without a word on the CPU. PyTorch, which chose the device, has loaded the
    libraries that both need.
    """
    _, data = read_model(path)
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
            raise UserError(_not_there("the installed package has no CUDA in it"))
        exact = FLOAT32 | {"use_tf32": str(int(tf32))}
        providers = [(CUDA, {"device_id": str(device.index or 0)} | exact), CPU]
    try:
        running = ort.InferenceSession(data, options, providers=providers)
    except Exception as error:  # ONNX Runtime's own exceptions have no common class but this
        raise unfit(path, " ".join(str(error).splitlines()[0].split())) from None
    if len(providers) > 1 and running.get_providers()[0] != CUDA:
        raise UserError(_not_there("it finds no driver or no libraries of CUDA that fit it"))
    return running


def _not_there(why: str) -> str:
    return (
        f"ONNX Runtime {ort.__version__} does not draw on the GPU: {why}; "
        "install the onnxruntime-gpu of requirements.lock, or set device to cpu in params.yaml"
    )


def run_onnx(running: ort.InferenceSession, *inputs: np.ndarray) -> list[np.ndarray]:
    """Every output for the inputs in their order, in one batch; raises UserError when the model does not take them."""
    names = [tensor.name for tensor in running.get_inputs()]
    try:
        outputs = running.run(None, dict(zip(names, inputs, strict=True)))
    except Exception as error:  # see above
        reason, shapes = " ".join(str(error).split()), " and ".join(str(array.shape) for array in inputs)
        raise UserError(f"the model fails on {shapes} inputs, at batch size {len(inputs[0])}: {reason}") from None
    return [np.asarray(output) for output in outputs]


def run_in_batches(running: ort.InferenceSession, *inputs: np.ndarray) -> list[np.ndarray]:
    """The same for any number of rows, also from a file of a fixed batch, which gets the last ones filled up."""
    batch, size = running.get_inputs()[0].shape[0], len(inputs[0])
    if not isinstance(batch, int):
        return run_onnx(running, *inputs)
    places = [np.arange(start, start + batch) % size for start in range(0, size, batch)]
    parts = [run_onnx(running, *(given[rows] for given in inputs)) for rows in places]
    return [np.concatenate(outputs)[:size] for outputs in zip(*parts, strict=True)]
