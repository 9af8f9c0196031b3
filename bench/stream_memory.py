"""Measures the host memory of streaming: `python bench/stream_memory.py [--gb 20] [--place FOLDER] [--json FILE]`.

It writes a synthetic split of 64x64 RGB images with the writer of the stage `preprocess`, repeating one random block,
and streams random batches of it in a new process. The result is the peak resident memory of that process; the page
cache is not part of it. The images/s are those of this disk and its cache, without training. The data are deleted at
the end. Needs about three minutes and 20 GB of disk.
"""

import json
import resource
import shutil
import signal
import subprocess
import sys
import time
from argparse import SUPPRESS
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NoReturn

import numpy as np
from arguments import parse, parser
from rows import Row, at_most, publish

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tasks.preprocess.dataset import Split, SplitRecord  # noqa: E402 - the project is no installed package
from tasks.preprocess.prepare import SplitWriter  # noqa: E402

SHAPE = (3, 64, 64)
IMAGE_BYTES = 3 * 64 * 64
BLOCK = 1000  # images
BATCH = 256
RECORD = "split.json"
GB, GIB = 10**9, 2**30


def main() -> None:
    """Measures, prints a table and writes the JSON."""
    made = parser(__doc__)
    made.add_argument("--gb", type=float, default=20, help="size of the data set, in 10^9 bytes")
    made.add_argument("--seconds", type=float, default=30, help="seconds of streaming")
    made.add_argument("--place", type=Path, help="an existing folder on a disk with enough space")
    made.add_argument("--read", type=Path, help=SUPPRESS)  # of the new process
    given = parse(made, gb=0.05, seconds=0.5)
    if given.read:
        print(json.dumps(stream(given.read, given.seconds)))
        return
    signal.signal(signal.SIGTERM, end)
    with TemporaryDirectory(prefix="imagewright-", dir=given.place) as name:
        place = Path(name)
        refuse_without_space(place, given.gb)
        write(place, given.gb)
        command = [sys.executable, __file__, "--read", str(place), "--seconds", str(given.seconds)]
        measured = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    publish(
        [
            at_most(f"host memory while streaming {given.gb:g} GB", measured["peak"] / GIB, 2, "GiB"),
            Row("images of 64x64 RGB, streamed", measured["images_per_second"], "images/s"),
            Row("    data read", measured["images"] * IMAGE_BYTES / GB, "GB"),
        ],
        given.json,
    )


def end(*_: object) -> NoReturn:
    """Raises SystemExit, so that the data are deleted."""
    sys.exit(128 + signal.SIGTERM)


def refuse_without_space(place: Path, gb: float) -> None:
    """Ends the process with an error where the disk is too small."""
    free = shutil.disk_usage(place).free / GB
    if free < 1.05 * gb:
        sys.exit(
            f"error: {gb:g} GB are to be written and {free:.1f} GB are free at {place.parent}; name --place or --gb"
        )


def write(place: Path, gb: float) -> None:
    """Writes a training split of that size, and its record beside it."""
    block = np.random.default_rng(0).integers(0, 256, (BLOCK, *SHAPE), np.uint8)
    writer = SplitWriter(place, "train", SHAPE, shard_bytes=64 << 20)
    blocks, start, reported = round(gb * GB / (BLOCK * IMAGE_BYTES)), time.perf_counter(), 0.0
    for number in range(max(1, blocks)):
        block[:, 0, 0, 0] = number % 256
        writer.append(block, [None] * BLOCK)
        if (seconds := time.perf_counter() - start) >= reported + 10:
            reported = seconds
            print(f"written {len(writer) * IMAGE_BYTES / GB:.1f} of {gb:g} GB in {seconds:.0f} s", flush=True)
    (place / RECORD).write_text(writer.finish([]).model_dump_json(), encoding="utf-8")
    print(f"{len(writer):,} images in {time.perf_counter() - start:.0f} s; streaming them", flush=True)


def stream(place: Path, seconds: float) -> dict[str, float]:
    """Streams random batches; returns images, images/s and this process's peak resident memory in bytes."""
    # Imported here, since a new process starts with its parent's peak memory, which must be the smaller one.
    import torch

    from models.training.loaders import Prefetched
    from models.training.random import Sampler

    split = Split(place, SplitRecord.model_validate_json((place / RECORD).read_bytes()), SHAPE)
    loader = Prefetched(split, Sampler(len(split), 0), torch.device("cpu"))
    start = time.perf_counter()
    for number in count(1):
        loader.fetch((number - 1) * BATCH, BATCH)
        passed = time.perf_counter() - start
        if passed >= seconds:
            break
    unit = 1 if sys.platform == "darwin" else 2**10
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return {"images": number * BATCH, "images_per_second": number * BATCH / passed, "peak": peak}


if __name__ == "__main__":
    main()
