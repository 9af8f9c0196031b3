"""`up`, `down` and `status`: start the supervisor in the background, stop it, and print what it runs."""

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

from flows.core.supervise import restore_signals
from flows.server.remote import remote_text
from flows.server.settings import Settings, check_port
from flows.server.state import State, is_supervised, live_server, log_folder, read_state, remove_state, use_server
from tasks.common.errors import UserError

START_SECONDS = 300.0
STOP_SECONDS = 120.0
POLL_SECONDS = 0.2
ERROR = "error: "
WIDTH = 12


def up(settings: Settings, work: Path, root: Path) -> None:
    """Starts a supervisor that outlives this process and waits until the server is ready; does nothing where one runs.

    Raises UserError with the supervisor's reason when it ends, or takes too long.
    """
    if is_supervised(work):
        print(f"already up at {_wait_until_ready(work, supervisor=None).address}", flush=True)
        return
    check_port(settings)
    remove_state(work)  # of a supervisor that was killed
    log = log_folder(work) / "supervisor.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    print(f"starting; logs are in {log.parent}", flush=True)
    print(f"up at {_wait_until_ready(work, _start_supervisor(root, log)).address}", flush=True)


def down(work: Path) -> None:
    """Stops the supervisor with everything that it started and waits for the end; does nothing where none runs.

    Raises UserError when it takes too long.
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
        pid = supervisor.pid
        raise UserError(f"process {pid} did not end in {STOP_SECONDS:g} s; `kill -9 {pid}` ends it") from None
    print("down", flush=True)


def print_status(work: Path) -> bool:
    """Prints a line for each part of the server, DVC's remote and the disk; returns whether the server is up."""
    state = live_server(work)
    if state is None:
        print("down; `make up` starts it")
    else:
        use_server(state, work)
        from flows.server.status import lines  # imports Prefect, which reads what use_server has set

        for name, text in lines(state):
            print(f"{name:<{WIDTH}} {text}", flush=True)
    usage = shutil.disk_usage(work)
    print(f"{'DVC remote':<{WIDTH}} {remote_text(work)}")
    print(f"{'disk':<{WIDTH}} {usage.free / 1e9:,.1f} GB free of {usage.total / 1e9:,.1f}")
    return state is not None


def _start_supervisor(root: Path, log: Path) -> subprocess.Popen[bytes]:
    with log.open("wb") as file:
        return subprocess.Popen(
            [sys.executable, "-m", "flows.server", "serve"],
            cwd=root,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=restore_signals,
        )


def _wait_until_ready(work: Path, supervisor: subprocess.Popen[bytes] | None) -> State:
    until = time.monotonic() + START_SECONDS
    while (state := read_state(work)) is None or not state.ready:
        if (supervisor.poll() is not None if supervisor else not is_supervised(work)) or time.monotonic() > until:
            raise UserError(_reason(log_folder(work) / "supervisor.log"))
        time.sleep(POLL_SECONDS)
    return state


def _reason(log: Path) -> str:
    """The error with which the supervisor ended."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.exists() else []
    errors = [line.removeprefix(ERROR) for line in lines if line.startswith(ERROR)]
    return errors[-1] if errors else f"the server did not start; {log} has more"


def _supervisor(work: Path) -> psutil.Process:
    until = time.monotonic() + START_SECONDS
    while (state := read_state(work)) is None:  # it has just started
        if time.monotonic() > until:
            raise UserError(f"a process holds {work}/server.lock but has not written its id; end that process")
        time.sleep(POLL_SECONDS)
    return psutil.Process(state.pids["supervisor"])
