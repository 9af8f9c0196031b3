"""`python -m flows.server.watch FOLDER QUIET`: takes in what comes into a folder, once it is left alone."""

import subprocess
import sys
from pathlib import Path

from watchfiles import watch


def watch_folder(folder: str, quiet: float) -> None:
    """Runs `python -m flows.ingest FOLDER` now, since things may have come meanwhile, and after every change."""
    _ingest(folder, quiet)
    for _ in watch(folder, raise_interrupt=False):
        _ingest(folder, quiet)  # what changes meanwhile is told afterwards


def _ingest(folder: str, quiet: float) -> None:
    if not any(Path(folder).iterdir()):
        return
    command = [sys.executable, "-m", "flows.ingest", folder, "--quiet", f"{quiet:g}"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, check=False)
    if done.returncode != 0:
        print(f"{folder} was not taken in; the next change there tries again", flush=True)


if __name__ == "__main__":
    watch_folder(sys.argv[1], float(sys.argv[2]))
