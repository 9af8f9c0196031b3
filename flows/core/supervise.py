"""Runs one command that cannot outlive its parent: `python -S supervise.py GRACE -- COMMAND...`.

The parent holds the other end of this process's stdin. When that end closes, because the parent wants the command to
stop or because the parent died, the command's whole process group gets SIGINT, then SIGTERM, then SIGKILL, with up to
GRACE seconds after each. A backup process does the same if this one is killed. Only the standard library is imported,
and only modules that load within a few milliseconds.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress

POLL_SECONDS = 0.05
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)
IGNORED_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def supervise(grace: float, command: list[str]) -> int:
    """Runs `command` in a process group of its own; returns its exit code, 128 + n if signal n ended it."""
    for signum in IGNORED_SIGNALS:
        signal.signal(signum, signal.SIG_IGN)
    try:
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True, preexec_fn=restore_signals)
    except OSError as error:
        print(f"error: cannot start {command[0]}: {error.strerror}", file=sys.stderr, flush=True)
        return 127
    backup = _start_backup(child.pid, grace)
    threading.Thread(target=_stop_on_end_of_stdin, args=(child.pid, grace), daemon=True).start()
    code = child.wait()
    stop_group(child.pid, grace)
    with suppress(BrokenPipeError):  # the backup was killed, which changes nothing for the command
        os.write(backup, b".")
    return code if code >= 0 else 128 - code


def stop_group(group: int, grace: float) -> None:
    """Sends each signal to a process group in turn, with up to `grace` seconds after each, until the group is empty."""
    for signum in STOP_SIGNALS:
        deadline = time.monotonic() + grace
        if not _send(group, signum):
            return
        while time.monotonic() < deadline:
            if not _send(group, 0):
                return
            time.sleep(POLL_SECONDS)


def restore_signals() -> None:
    """Restores default handlers in a child before exec: an ignored signal stays ignored, and could not stop it."""
    for signum in IGNORED_SIGNALS:
        signal.signal(signum, signal.SIG_DFL)


def _start_backup(group: int, grace: float) -> int:
    """Forks a process that stops the group if this one is killed; returns a descriptor, a byte into which ends it."""
    read_end, write_end = os.pipe()
    if os.fork() == 0:
        os.setsid()
        os.close(write_end)
        null = os.open(os.devnull, os.O_RDWR)
        for number in range(3):  # else a reader of the command's output would not see its end
            os.dup2(null, number)
        if not os.read(read_end, 1):
            stop_group(group, grace)
        os._exit(0)
    os.close(read_end)
    return write_end


def _stop_on_end_of_stdin(group: int, grace: float) -> None:
    while os.read(0, 1):
        pass
    stop_group(group, grace)


def _send(group: int, signum: int) -> bool:
    """Sends a signal, or none for 0; returns whether the group still has a member."""
    try:
        os.killpg(group, signum)
    except (ProcessLookupError, PermissionError):  # macOS answers EPERM when only zombies are left
        return False
    return True


if __name__ == "__main__":
    sys.exit(supervise(float(sys.argv[1]), sys.argv[3:]))
