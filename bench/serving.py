"""Measures the HTTP example under load: `python bench/serving.py data/bundle/gan`.

Starts examples/http on the bundle and sends requests at a constant rate from 32 clients: one request in 16 asks for 16
images in JSON, the others for one PNG. A request's latency starts when it was due, not when its client was free to send
it, so a stall counts for every request that it delayed. Exit code 1 when a requirement is not met.
"""

import argparse
import http.client
import json
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
from arguments import parse, parser
from checkouts import ROOT
from rows import Row, at_least, at_most, publish
from standins import BUNDLE, bundled

SERVICE = ROOT / "examples/http/service.py"
PNG = b"\x89PNG\r\n\x1a\n"
BATCH = 16  # images of every 16th request


@dataclass(frozen=True)
class Answer:
    """The latency and error of one request."""

    seconds: float
    error: str


def main() -> int:
    """Measures, prints a table, and returns 1 when a requirement is not met."""
    made = parser(__doc__)
    made.add_argument("bundle", type=Path, nargs="?")
    made.add_argument("--clients", type=int, default=32)
    made.add_argument("--seconds", type=float, default=60)
    made.add_argument("--rate", type=float, default=250, help="requests a second, of all clients together")
    asked = parse(made, clients=4, seconds=1.0, rate=40)
    if not asked.bundle and not asked.tiny:
        made.error("name a bundle, such as data/bundle/gan")
    with bundled() if asked.tiny else nullcontext() as clone:
        rows = served(asked.bundle or clone / BUNDLE, asked)
    publish(rows, asked.json)
    return 0 if asked.tiny or all(row.reached is not False for row in rows) else 1


def served(bundle: Path, asked: argparse.Namespace) -> list[Row]:
    """Starts a service on the bundle, measures it, and stops it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, str(SERVICE), str(bundle), "--port", str(port), "--rate", "1000000"]
    service = subprocess.Popen(command)
    try:
        wait_for(port, service)
        return measure(port, service, asked)
    finally:
        service.terminate()
        service.wait()


def measure(port: int, service: subprocess.Popen[bytes], asked: argparse.Namespace) -> list[Row]:
    """Warms up for a tenth of the time, then measures for all of it."""
    load(port, asked.clients, asked.rate, asked.seconds / 10)
    process = psutil.Process(service.pid)
    before, cpu = process.memory_info().rss, sum(process.cpu_times()[:2])
    started = time.monotonic()
    answers = load(port, asked.clients, asked.rate, asked.seconds)
    took = time.monotonic() - started
    errors = [answer.error for answer in answers if answer.error]
    for error in sorted(set(errors)):
        print(f"{errors.count(error)} times {error}", file=sys.stderr)
    times = np.array([answer.seconds for answer in answers]) * 1000
    images = len(answers) * (BATCH + BATCH - 1) / BATCH
    return [
        Row("clients", asked.clients),
        Row("requests", len(answers)),
        at_least("requests a second", len(answers) / took, 0.95 * asked.rate),
        Row("images a second", images / took),
        at_most("errors", len(errors), 0),
        Row("latency, median", float(np.percentile(times, 50)), "ms"),
        at_most("latency, 99th percentile", float(np.percentile(times, 99)), 500, "ms"),
        Row("latency, longest", float(times.max()), "ms"),
        Row("cores in use", (sum(process.cpu_times()[:2]) - cpu) / took),
        Row("memory", process.memory_info().rss / 2**20, "MiB"),
        at_most("growth of memory", (process.memory_info().rss - before) / 2**20, 10, "MiB"),
    ]


def load(port: int, clients: int, rate: float, seconds: float) -> list[Answer]:
    """Sends `rate` requests a second from all clients together, and returns their answers."""
    start, pause = time.monotonic() + 0.1, clients / rate

    def client(number: int) -> list[Answer]:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        dues = np.arange(start + number / rate, start + seconds, pause)
        return [ask(connection, number + clients * turn, float(due)) for turn, due in enumerate(dues)]

    with ThreadPoolExecutor(clients) as threads:
        return [answer for answers in threads.map(client, range(clients)) for answer in answers]


def ask(connection: http.client.HTTPConnection, number: int, due: float) -> Answer:
    """Sends one request when it is due, and reads the answer."""
    time.sleep(max(0.0, due - time.monotonic()))
    try:
        if number % BATCH == BATCH - 1:
            body = json.dumps({"seed": number, "count": BATCH})
            connection.request("POST", "/images", body, {"Content-Type": "application/json"})
        else:
            connection.request("GET", f"/image?seed={number}")
        answer = connection.getresponse()
        body = answer.read()
        right = len(json.loads(body)["images"]) == BATCH if number % BATCH == BATCH - 1 else body.startswith(PNG)
        error = "" if answer.status == 200 and right else f"{answer.status} {body[:200]!r}"
    except (OSError, http.client.HTTPException, ValueError, KeyError) as fault:
        connection.close()
        error = repr(fault)
    return Answer(time.monotonic() - due, error)


def wait_for(port: int, service: subprocess.Popen[bytes]) -> None:
    """Waits until the service answers; ends the program if it exits."""
    while service.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    sys.exit("error: the service did not start")


if __name__ == "__main__":
    sys.exit(main())
