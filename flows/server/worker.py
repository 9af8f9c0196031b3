"""`python -m flows.server.worker`: closes the runs of a worker that died, then becomes this machine's worker."""

import os
import sys

from flows.server.install import POOL
from flows.server.stale import close_stale_runs, worker_name

if __name__ == "__main__":
    close_stale_runs()
    command = ["prefect", "worker", "start", "--pool", POOL, "--type", "process", "--name", worker_name()]
    os.execv(sys.executable, [sys.executable, "-m", *command])
