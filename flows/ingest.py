"""`imagewright ingest SOURCE`: ingests data like `imagewright data`, and reports new data to the server.

It waits for a run in this checkout to end. With `--quiet SECONDS`, which the server sets for a watched folder, it also
waits until nothing below SOURCE has changed for that long, so that it does not ingest half-copied images.
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


def ingest(source: str, quiet: float = 0.0) -> None:
    """Ingests `source` under the run lock, and emits an event if data/raw.dvc then pins other data than before.

    With `quiet`, a source that changed in the meantime is ingested again. Exits with the exit code of `tasks.ingest`
    if that fails.
    """
    before = read_pin()
    while not _ingest_once(source, quiet):
        print(f"{source} changed while it was being ingested; ingesting it again", flush=True)
    after = read_pin()
    if after is not None and (before is None or before.md5 != after.md5):
        _emit_event(before, after)


def _ingest_once(source: str, quiet: float) -> bool:
    """Ingests `source`; returns whether nothing changed there in the meantime."""
    with _quiet_source(Path(source), quiet) as changed:
        command = [sys.executable, "-m", "tasks.ingest", source]
        if code := subprocess.run(command, stdin=subprocess.DEVNULL, check=False).returncode:
            sys.exit(code)
        return not quiet or _last_change(Path(source)) == changed


@contextmanager
def _quiet_source(source: Path, quiet: float) -> Iterator[float]:
    """Holds the run lock once `source` has not changed for `quiet` seconds; yields the time of its last change."""
    while True:
        while quiet and time.time() - _last_change(source) < quiet:
            time.sleep(POLL_SECONDS)
        with run_lock():  # this may take hours, so the source is checked again
            changed = _last_change(source) if quiet else 0.0
            if time.time() - changed >= quiet:
                yield changed
                return


def _last_change(source: Path) -> float:
    """Returns when the file system last recorded a write, rename or removal at or below a path."""
    last = source.lstat().st_ctime
    for path in source.rglob("*"):
        with suppress(FileNotFoundError):
            last = max(last, path.lstat().st_ctime)
    return last


def _emit_event(before: Pin | None, after: Pin) -> None:
    """Emits the event that starts a retraining, if a server is running."""
    server = live_server(work_folder())
    if server is None:
        print("the data is new, but no server is running that could retrain on it; `make up` starts one", flush=True)
        return
    use_server(server, work_folder())
    from prefect.client.orchestration import get_client
    from prefect.events import Event, Resource

    payload = {"old": before and before.md5, "new": after.md5, "files": after.files, "source": after.source}
    resource = Resource({"prefect.resource.id": RESOURCE, "prefect.resource.name": "data/raw"})
    event = Event(event=EVENT, resource=resource, payload=payload)
    with get_client(sync_client=True) as client:
        client.request("POST", "/events", json=[event.model_dump(mode="json")]).raise_for_status()
    print(f"the data is new, and the server at {server.address} was notified", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", metavar="SOURCE", help="as for `imagewright data`")
    quiet = "wait until SOURCE has not changed for so long"
    parser.add_argument("--quiet", type=float, default=0.0, metavar="SECONDS", help=quiet)
    arguments = parser.parse_args()
    run(lambda: ingest(arguments.source, arguments.quiet))
