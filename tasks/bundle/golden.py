"""Golden vectors: inputs and ONNX Runtime's outputs for them on a CPU, one archive per model file."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import torch
from numpy.typing import NDArray

from models.training.random import generator as stream
from tasks.common.files import write_bytes
from tasks.export.session import run_onnx

Arrays = dict[str, NDArray[np.float32] | NDArray[np.int64] | NDArray[np.uint8]]


def golden_vectors(
    model: str, sessions: dict[str, ort.InferenceSession], labels: int, count: int, seed: int
) -> dict[str, Arrays]:
    """Returns inputs and outputs by tensor name for each float32 file, [count, ...]: labels int64, all else float32.

    The generator gets standard normal noise, and every label in turn where it is conditional; a model that maps images
    to images gets uniform random pixels. An encoder gets the generator's images, and its decoder the encoder's first
    output, the code. No image of the training data is published.
    """
    generator = sessions[f"{model}.onnx"]
    first, *label = generator.get_inputs()
    random = stream(seed, "golden")
    given = [(torch.rand if len(first.shape) == 4 else torch.randn)(count, *first.shape[1:], generator=random).numpy()]
    golden = {f"{model}.onnx": _answers(generator, *given, *(np.arange(count) % max(labels, 1) for _ in label))}
    if encoder := sessions.get("encoder.onnx"):
        golden["encoder.onnx"] = coded = _answers(encoder, golden[f"{model}.onnx"]["image"])
        golden["decoder.onnx"] = _answers(sessions["decoder.onnx"], coded[encoder.get_outputs()[0].name])
    return golden


def variant_vectors(session: ort.InferenceSession, golden: Arrays) -> Arrays:
    """Returns a variant's outputs for the golden inputs of its float32 file, or for one batch where that is fixed."""
    given, batch = [golden[tensor.name] for tensor in session.get_inputs()], session.get_inputs()[0].shape[0]
    if isinstance(batch, int):
        given = [array[np.arange(batch) % len(array)] for array in given]
    return _answers(session, *given)


def write_vectors(path: Path, arrays: Arrays) -> None:
    """Writes a .npz archive; equal arrays give equal bytes, since numpy stores no time."""
    memory = io.BytesIO()
    np.savez(memory, allow_pickle=False, **arrays)
    write_bytes(path, memory.getvalue())


def _answers(session: ort.InferenceSession, *given: NDArray[Any]) -> Arrays:
    inputs, outputs = ([tensor.name for tensor in side] for side in (session.get_inputs(), session.get_outputs()))
    return dict(zip(inputs, given, strict=True)) | dict(zip(outputs, run_onnx(session, *given), strict=True))
