"""Measures speed and loss of int8: `python bench/int8.py --model FILE [--json FILE]`.

The model is a float32 gan.onnx or vae.onnx. ONNX Runtime quantises it as its manual advises: weights per channel,
activations calibrated on standard normal noise. Both files take turns on the CPU; their pixels from the same noise are
compared.
"""

import argparse
import logging
import statistics
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
from arguments import parse, parser
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from rows import Row, publish

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from inference import BATCHES, QUICK, exported, small, timed  # noqa: E402 - the project is no installed package

from tasks.export.session import run_onnx, session  # noqa: E402

CALIBRATED, COMPARED = 256, 2_000  # images
PRODUCTS = {"Conv", "ConvTranspose", "Gemm", "MatMul"}


class Noise(CalibrationDataReader):
    """Standard normal noise, 16 vectors at a time."""

    def __init__(self, length: int) -> None:
        self._left = iter(np.random.default_rng(0).standard_normal((CALIBRATED // 16, 16, length), dtype=np.float32))

    def get_next(self) -> dict[str, np.ndarray] | None:
        """Returns the next batch, or None at the end."""
        batch = next(self._left, None)
        return None if batch is None else {"noise": batch}


def main() -> None:
    """Measures, prints a table and writes the JSON."""
    made = parser(__doc__)
    made.add_argument("--model", type=Path)
    made.add_argument("--rounds", type=int, default=10)
    made.add_argument("--seconds", type=float, default=0.2, help="seconds of each slice; at least three calls")
    made.add_argument("--threads", type=int, default=2)
    given = parse(made, rounds=1, threads=1, seconds=0.0)
    if not given.model and not given.tiny:
        made.error("--model names the file to quantise")
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as place:
        if not given.model:
            exported(small(QUICK), Path(place) / "made", given.threads)
        file = given.model or Path(place) / "made/gan.onnx"
        [noise] = onnx.load(file).graph.input
        length = noise.type.tensor_type.shape.dim[1].dim_value
        quantised = quantise(file, Path(place) / "int8.onnx", length)
        files = {"float32": file, "int8": quantised}
        sessions = {name: session(file, given.threads) for name, file in files.items()}
        rows = speeds(sessions, length, given) + losses(sessions, length)
        rows += [Row(f"{name}: size", file.stat().st_size / 1024, "KiB") for name, file in files.items()]
    publish(rows, given.json)


def quantise(file: Path, target: Path, length: int) -> Path:
    """Writes the int8 file; ends this process if ONNX Runtime did not quantise every product."""
    kinds = {"activation_type": QuantType.QUInt8, "weight_type": QuantType.QInt8}
    quantize_static(file, target, Noise(length), quant_format=QuantFormat.QDQ, per_channel=True, **kinds)
    graph = onnx.load(target).graph
    given = {output for node in graph.node if node.op_type == "DequantizeLinear" for output in node.output}
    left = [node.name for node in graph.node if node.op_type in PRODUCTS and not given.issuperset(node.input[:2])]
    if left or not given:
        sys.exit(f"error: ONNX Runtime did not quantise {', '.join(left) or 'anything'} of {file.name}")
    return target


def speeds(sessions: dict, length: int, given: argparse.Namespace) -> list[Row]:
    """Measures images per second of both files in turns, and their ratio."""
    rows = []
    for batch in BATCHES:
        noise = np.random.default_rng(1).standard_normal((batch, length), dtype=np.float32)
        seconds: dict[str, list[float]] = {name: [] for name in sessions}
        for _ in range(given.rounds):
            for name, running in sessions.items():
                seconds[name] += timed(lambda some=running, rows=noise: run_onnx(some, rows), given.seconds)
        middle = {name: statistics.median(each) for name, each in seconds.items()}
        rows += [Row(f"batch {batch}, {name}", batch / each, "images/s") for name, each in middle.items()]
        rows.append(Row("    int8 / float32", middle["float32"] / middle["int8"], "times"))
    return rows


def losses(sessions: dict, length: int) -> list[Row]:
    """Compares the 8-bit pixels of int8 with those of float32."""
    noise = np.random.default_rng(2).standard_normal((COMPARED, length), dtype=np.float32)
    first, second = (np.rint(run_onnx(running, noise)[0] * 255) for running in sessions.values())
    apart = np.abs(first - second)
    return [
        Row("pixels at most one step of 255 apart", 100 * float((apart <= 1).mean()), "%"),
        Row("largest step", float(apart.max()), "of 255"),
    ]


if __name__ == "__main__":
    main()
