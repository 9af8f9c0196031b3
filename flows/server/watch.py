"""`python -m flows.server.watch FOLDER QUIET`: ingests a folder once it has not changed for QUIET seconds."""

import subprocess
import sys
from pathlib import Path

from watchfiles import watch


def watch_folder(folder: str, quiet: str) -> None:
    """Runs `imagewright ingest FOLDER` now, since files may have come while nobody watched, and at every change."""
    _ingest(folder, quiet)
    for _ in watch(folder, raise_interrupt=False):
        _ingest(folder, quiet)  # watchfiles reports changes that happen meanwhile afterwards


def _ingest(folder: str, quiet: str) -> None:
    if not any(Path(folder).iterdir()):
        return
    command = [sys.executable, "-m", "flows.ingest", folder, "--quiet", quiet]
    if subprocess.run(command, stdin=subprocess.DEVNULL, check=False).returncode != 0:
        print(f"{folder} was not ingested; its next change starts another try", flush=True)


if __name__ == "__main__":
    watch_folder(sys.argv[1], sys.argv[2])
