"""ONNX Runtime on the CPU, the provider whose bytes every machine can repeat."""

from pathlib import Path

import numpy as np
import onnxruntime as ort

from tasks.errors import UserError


def session(path: Path, threads: int) -> ort.InferenceSession:
    """A session on the CPU with this many threads; raises UserError when the file is missing or not a model."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    try:
        return ort.InferenceSession(path.as_posix(), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's own exceptions have no common class but this
        reason = str(error).splitlines()[0]
        raise UserError(f"{path} cannot be run ({reason}); run the export stage again (`make repro`)") from None


def run_onnx(running: ort.InferenceSession, *inputs: np.ndarray) -> list[np.ndarray]:
    """Every output for the inputs in their order, in one batch; raises UserError when the model does not take them."""
    names = [tensor.name for tensor in running.get_inputs()]
    try:
        outputs = running.run(None, dict(zip(names, inputs, strict=True)))
    except Exception as error:  # see above
        reason, shapes = " ".join(str(error).split()), " and ".join(str(array.shape) for array in inputs)
        raise UserError(f"the model fails on {shapes} inputs, at batch size {len(inputs[0])}: {reason}") from None
    return [np.asarray(output) for output in outputs]
