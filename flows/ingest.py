"""`python -m flows.ingest SOURCE`: takes data in as `python -m tasks.ingest` does, and tells the box when it is new.

It waits for a run in this checkout to end. With `--quiet SECONDS`, as the keeper calls it for a watched folder, it also
waits until nothing below SOURCE has changed for so long, so that images are not taken while they are being copied.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from flows.core.terminal import run_lock
from flows.server.settings import EVENT, RESOURCE
from flows.server.state import live_server, use_server
from tasks.common.cli import run
from tasks.common.paths import work_folder
from tasks.ingest.pin import Pin, read_pin

POLL_SECONDS = 1.0


def main() -> None:
    """Reads the command line, takes in, tells."""
    parser = argparse.ArgumentParser(prog="python -m flows.ingest", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("source", metavar="SOURCE", help="as for `python -m tasks.ingest`")
    parser.add_argument("--quiet", type=float, default=0.0, metavar="SECONDS", help="wait until SOURCE is left alone")
    asked = parser.parse_args()
    run(lambda: ingest(asked.source, asked.quiet))


def ingest(source: str, quiet: float = 0.0) -> None:
    """Takes `source` in under the run lock and tells the box if data/raw.dvc then pins other data than before.

    What changed while it was taken in is taken in once more when `quiet` is set. Ends the process with the exit code
    of `tasks.ingest` where that fails.
    """
    before = read_pin()
    while not _take(source, quiet):
        print(f"{source} changed while it was taken in; once more", flush=True)
    after = read_pin()
    if after is not None and (before is None or before.md5 != after.md5):
        _tell(before, after)


def _take(source: str, quiet: float) -> bool:
    """Takes `source` in; says whether it was left alone all the while."""
    with _undisturbed(Path(source), quiet) as changed:
        command = [sys.executable, "-m", "tasks.ingest", source]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, check=False)
        if done.returncode != 0:
            sys.exit(done.returncode)
        return not quiet or _last_change(Path(source)) == changed


@contextmanager
def _undisturbed(source: Path, quiet: float) -> Iterator[float]:
    """Holds the run lock once nothing below `source` has changed for `quiet` seconds; gives the last change's time."""
    while True:
        while quiet and _age(source) < quiet:
            time.sleep(POLL_SECONDS)
        with run_lock():  # which may take hours
            if not quiet or _age(source) >= quiet:
                yield _last_change(source) if quiet else 0.0
                return


def _age(source: Path) -> float:
    return time.time() - _last_change(source)


def _last_change(source: Path) -> float:
    """When anything at or below a path was last written, renamed or removed, as the file system tells it."""
    last = source.lstat().st_ctime
    for path in source.rglob("*"):
        with suppress(FileNotFoundError):
            last = max(last, path.lstat().st_ctime)
    return last


def _tell(before: Pin | None, after: Pin) -> None:
    """Emits the event, if a box is up."""
    box = live_server(work_folder())
    if box is None:
        print("the data is new, but no box is up that could retrain on it (`make up`)", flush=True)
        return
    use_server(box, work_folder())
    from prefect.client.orchestration import get_client
    from prefect.events import Event, Resource

    payload = {"old": before and before.md5, "new": after.md5, "files": after.files, "source": after.source}
    resource = Resource({"prefect.resource.id": RESOURCE, "prefect.resource.name": "data/raw"})
    event = Event(event=EVENT, resource=resource, payload=payload)
    with get_client(sync_client=True) as client:
        client.request("POST", "/events", json=[event.model_dump(mode="json")]).raise_for_status()
    print(f"the data is new, and the box at {box.address} knows", flush=True)


if __name__ == "__main__":
    main()
