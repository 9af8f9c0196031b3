"""A run ends with the worker that started it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.flows.conftest import ROOT, lives, until

RUN = """
import os, sys, time
from flows.server.guard import end_with_worker
end_with_worker()
open(sys.argv[1], "w").write(str(os.getpid()))
try:
    time.sleep(60)
except SystemExit:
    pass
"""
WORKER = "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1], sys.argv[2]])"


@pytest.mark.parametrize("by_worker", [True, False])
def test_ends_when_its_worker_is_killed(tmp_path: Path, by_worker: bool) -> None:
    file = tmp_path / "pid"
    environment = {**os.environ, **({"PREFECT__FLOW_RUN_ID": "run"} if by_worker else {})}
    worker = subprocess.Popen([sys.executable, "-c", WORKER, RUN, str(file)], cwd=ROOT, env=environment)
    until(lambda: file.exists() and file.read_text())
    pid = int(file.read_text())
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    if by_worker:
        until(lambda: not lives(pid), seconds=15)
    else:  # like a run in a terminal whose shell has ended
        with pytest.raises(AssertionError):
            until(lambda: not lives(pid), seconds=4)
        os.kill(pid, signal.SIGKILL)
