"""`up` and `down`: a keeper in the background, and its end."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

from flows.core.supervise import restore_signals
from flows.server.settings import Settings, check_port
from flows.server.state import State, is_supervised, read_state, remove_state
from tasks.common.errors import UserError

START_SECONDS = 300.0
STOP_SECONDS = 120.0
POLL_SECONDS = 0.2
ERROR = "error: "


def up(settings: Settings, work: Path, root: Path) -> State:
    """Starts a keeper that outlives this process and waits until all is there; says so where one is up already.

    Raises UserError with the keeper's reason when it ends instead, or takes too long.
    """
    if is_supervised(work):
        box = _wait_for_server(work, supervisor=None)
        print(f"already up at {box.address}", flush=True)
        return box
    check_port(settings)
    remove_state(work)  # of a keeper that was killed
    log = work / "logs" / "box.log"
    log.parent.mkdir(exist_ok=True)
    print(f"starting; the logs are {log.parent}/box*.log", flush=True)
    box = _wait_for_server(work, _start_supervisor(root, log))
    print(f"up at {box.address}", flush=True)
    return box


def down(work: Path) -> None:
    """Ends the keeper, and with it everything in the box, and waits for that; raises UserError when it takes too long.

    Done where nothing is up.
    """
    if not is_supervised(work):
        print("nothing is up", flush=True)
        return
    supervisor = _supervisor(work)
    print("stopping the worker with its runs, then the server", flush=True)
    supervisor.send_signal(signal.SIGTERM)
    try:
        supervisor.wait(STOP_SECONDS)
    except psutil.TimeoutExpired:
        raise UserError(
            f"process {supervisor.pid} did not end in {STOP_SECONDS:g} s; `kill -9 {supervisor.pid}`"
        ) from None
    print("down", flush=True)


def _start_supervisor(root: Path, log: Path) -> subprocess.Popen[bytes]:
    log.write_bytes(b"")
    with log.open("ab") as file:
        return subprocess.Popen(
            [sys.executable, "-m", "flows.server", "keep"],
            cwd=root,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=restore_signals,
        )


def _wait_for_server(work: Path, supervisor: subprocess.Popen[bytes] | None) -> State:
    until = time.monotonic() + START_SECONDS
    while (box := read_state(work)) is None or not box.ready:
        if (supervisor.poll() is not None if supervisor else not is_supervised(work)) or time.monotonic() > until:
            raise UserError(_reason(work / "logs" / "box.log"))
        time.sleep(POLL_SECONDS)
    return box


def _reason(log: Path) -> str:
    """The sentence with which the keeper ended."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.exists() else []
    errors = [line.removeprefix(ERROR) for line in lines if line.startswith(ERROR)]
    return errors[-1] if errors else f"the box did not start; {log} has more"


def _supervisor(work: Path) -> psutil.Process:
    until = time.monotonic() + START_SECONDS
    while (box := read_state(work)) is None:  # it has just begun
        if time.monotonic() > until:
            raise UserError(f"{work}/box.lock is held, but nobody says by whom; end that process")
        time.sleep(POLL_SECONDS)
    return psutil.Process(box.pids["keeper"])
