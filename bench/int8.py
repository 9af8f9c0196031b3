"""Whether int8 pays: `python bench/int8.py --model FILE [--json FILE]`, FILE a float32 gan.onnx or vae.onnx.

ONNX Runtime quantises the file as its manual advises: weights by channel, activations calibrated on noise of the
model's own law, and both files take turns on the CPU. The pixels of either, from the same noise, say what is lost.
"""

import argparse
import logging
import statistics
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from rows import Row, publish

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from inference import BATCHES, timed  # noqa: E402 - the project is no installed package

from tasks.onnx_session import run_onnx, session  # noqa: E402

CALIBRATED, COMPARED = 256, 2_000  # images


class Noise(CalibrationDataReader):
    """Noise of the model's law, 16 images at a time."""

    def __init__(self, length: int) -> None:
        self._left = iter(np.random.default_rng(0).standard_normal((CALIBRATED // 16, 16, length), dtype=np.float32))

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next ones, or None at the end."""
        batch = next(self._left, None)
        return None if batch is None else {"noise": batch}


def main() -> None:
    """Measures, prints a table and writes the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as place:
        quantised = Path(place) / "int8.onnx"
        [noise] = onnx.load(given.model).graph.input
        length = noise.type.tensor_type.shape.dim[1].dim_value
        quantize_static(
            given.model,
            quantised,
            Noise(length),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
        files = {"float32": given.model, "int8": quantised}
        sessions = {name: session(file, given.threads) for name, file in files.items()}
        rows = speeds(sessions, length, given.rounds) + losses(sessions, length)
        rows += [Row(f"{name}: size", file.stat().st_size / 1024, "KiB") for name, file in files.items()]
    publish(rows, given.json)


def speeds(sessions: dict, length: int, rounds: int) -> list[Row]:
    """Images per second of either in turns, and how many times as fast int8 is."""
    rows = []
    for batch in BATCHES:
        noise = np.random.default_rng(1).standard_normal((batch, length), dtype=np.float32)
        seconds: dict[str, list[float]] = {name: [] for name in sessions}
        for _ in range(rounds):
            for name, running in sessions.items():
                seconds[name] += timed(lambda some=running, rows=noise: run_onnx(some, rows), 0.2)
        middle = {name: statistics.median(each) for name, each in seconds.items()}
        rows += [Row(f"batch {batch}, {name}", batch / each, "images/s") for name, each in middle.items()]
        rows.append(Row("    int8 / float32", middle["float32"] / middle["int8"], "times"))
    return rows


def losses(sessions: dict, length: int) -> list[Row]:
    """How far the 8-bit pixels of int8 lie from those of float32."""
    noise = np.random.default_rng(2).standard_normal((COMPARED, length), dtype=np.float32)
    first, second = (np.rint(run_onnx(running, noise)[0] * 255) for running in sessions.values())
    apart = np.abs(first - second)
    return [
        Row("pixels at most one step of 255 apart", 100 * float((apart <= 1).mean()), "%"),
        Row("largest step", float(apart.max()), "of 255"),
    ]


if __name__ == "__main__":
    main()
