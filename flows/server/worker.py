"""`python -m flows.server.worker`: closes what an earlier worker left behind, then becomes this machine's worker."""

import os
import sys

from flows.server.install import POOL
from flows.server.stale import main as close_stale_runs
from flows.server.stale import worker_name


def main() -> None:
    """Does not return: Prefect's command takes this process's place, and its id."""
    close_stale_runs()
    command = ["prefect", "worker", "start", "--pool", POOL, "--type", "process", "--name", worker_name()]
    os.execv(sys.executable, [sys.executable, "-m", *command])


if __name__ == "__main__":
    main()
