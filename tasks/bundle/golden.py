"""Golden vectors: inputs with the outputs that ONNX Runtime gives for them on a CPU, one archive per model file."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from models.training.random import noise
from tasks.common.files import write_bytes
from tasks.export.session import run_onnx

Arrays = dict[str, NDArray[np.float32] | NDArray[np.int64] | NDArray[np.uint8]]


def golden_vectors(
    model: str, sessions: dict[str, ort.InferenceSession], labels: int, count: int, seed: int
) -> dict[str, Arrays]:
    """Inputs and outputs by name of tensor for each float32 file, [count, ...]: labels int64, all else float32.

    The generator gets standard normal noise, and every label in turn where it takes one; an encoder what the
    generator made, and its decoder what the encoder gives first, the code: no image of the training data travels.
    """
    generator = sessions[f"{model}.onnx"]
    length = generator.get_inputs()[0].shape[1]
    given = [noise(count, length, seed, "golden").numpy(), np.arange(count) % max(labels, 1)]
    golden = {f"{model}.onnx": _answers(generator, *given[: len(generator.get_inputs())])}
    if encoder := sessions.get("encoder.onnx"):
        golden["encoder.onnx"] = coded = _answers(encoder, golden[f"{model}.onnx"]["image"])
        golden["decoder.onnx"] = _answers(sessions["decoder.onnx"], coded[encoder.get_outputs()[0].name])
    return golden


def variant_vectors(session: ort.InferenceSession, golden: Arrays) -> Arrays:
    """What a variant gives for the golden inputs of its float32 file, or for as many of them as it takes at a time."""
    given, batch = [golden[tensor.name] for tensor in session.get_inputs()], session.get_inputs()[0].shape[0]
    if isinstance(batch, int):
        given = [array[np.arange(batch) % len(array)] for array in given]
    return _answers(session, *given)


def write_vectors(path: Path, arrays: Arrays) -> None:
    """Writes a .npz archive; numpy stamps no time into it, so equal arrays give equal bytes."""
    memory = io.BytesIO()
    np.savez(memory, allow_pickle=False, **arrays)
    write_bytes(path, memory.getvalue())


def _answers(session: ort.InferenceSession, *given: NDArray[Any]) -> Arrays:
    inputs, outputs = ([tensor.name for tensor in side] for side in (session.get_inputs(), session.get_outputs()))
    return dict(zip(inputs, given, strict=True)) | dict(zip(outputs, run_onnx(session, *given), strict=True))
