"""Runs one command that cannot outlive whoever asked for it: `python -S supervise.py GRACE -- COMMAND...`.

The parent holds the other end of this process's stdin. When that end closes, because the parent wants the command to
stop or because the parent died in any way, the command's whole process group gets SIGINT, then SIGTERM, then SIGKILL,
with up to GRACE seconds after each; a second process does so when this one is killed. Only the standard library is
used, and only what starts in a few milliseconds.
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
    """Runs `command` in a process group of its own; returns its exit code, 128 + n when signal n ended it."""
    for signum in IGNORED_SIGNALS:
        signal.signal(signum, signal.SIG_IGN)
    try:
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True, preexec_fn=restore_signals)
    except OSError as error:
        print(f"error: cannot start {command[0]}: {error.strerror}", file=sys.stderr, flush=True)
        return 127
    second = _stand_by(child.pid, grace)
    threading.Thread(target=_stop_when_parent_leaves, args=(child.pid, grace), daemon=True).start()
    code = child.wait()
    stop_group(child.pid, grace)
    with suppress(BrokenPipeError):  # it was killed, which changes nothing for the command
        os.write(second, b".")
    return code if code >= 0 else 128 - code


def stop_group(group: int, grace: float) -> None:
    """Stops all processes of a group: each signal in turn, up to `grace` seconds after each, until nobody is left."""
    for signum in STOP_SIGNALS:
        deadline = time.monotonic() + grace
        if not _send(group, signum):
            return
        while time.monotonic() < deadline:
            if not _send(group, 0):
                return
            time.sleep(POLL_SECONDS)


def restore_signals() -> None:
    """For a child before it becomes another program: an ignored signal stays ignored, so it could not be stopped."""
    for signum in IGNORED_SIGNALS:
        signal.signal(signum, signal.SIG_DFL)


def _stand_by(group: int, grace: float) -> int:
    """Starts a second process that stops the group should this one be killed; a byte into what it returns ends it."""
    ear, mouth = os.pipe()
    if os.fork() == 0:
        os.setsid()
        os.close(mouth)
        nothing = os.open(os.devnull, os.O_RDWR)
        for number in range(3):  # whoever reads what the command says must see its end
            os.dup2(nothing, number)
        if not os.read(ear, 1):
            stop_group(group, grace)
        os._exit(0)
    os.close(ear)
    return mouth


def _stop_when_parent_leaves(group: int, grace: float) -> None:
    while os.read(0, 1):
        pass
    stop_group(group, grace)


def _send(group: int, signum: int) -> bool:
    """Whether the group still has a member that took the signal (0: that merely exists)."""
    try:
        os.killpg(group, signum)
    except (ProcessLookupError, PermissionError):  # macOS says EPERM where only zombies are left
        return False
    return True


if __name__ == "__main__":
    sys.exit(supervise(float(sys.argv[1]), sys.argv[3:]))
