"""A child process of the supervisor, which is restarted whenever it ends."""

import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from flows.core.processes import supervised

FIRST_DELAY = 1.0  # seconds until a child that ended is restarted; doubles each time
LONGEST_DELAY = 60.0
RESET_SECONDS = 300.0  # the delay starts again at FIRST_DELAY after a child ran this long
MAX_LOG_BYTES = 2**24


@dataclass
class Child:
    """A command that runs in `root` and appends its output to `log`; supervise.py explains `grace`, in seconds."""

    name: str
    command: Sequence[str]
    root: Path
    env: Mapping[str, str]
    log: Path
    grace: float
    _process: subprocess.Popen[str] | None = field(default=None, init=False)
    _started: float = field(default=0.0, init=False)
    _delay: float = field(default=FIRST_DELAY, init=False)
    _due: float | None = field(default=None, init=False)

    @property
    def pid(self) -> int | None:
        """Process id of flows/core/supervise.py, which runs the command; None while it does not run."""
        return self._process.pid if self._process and self._process.poll() is None else None

    @property
    def code(self) -> int | None:
        """The exit code; None before the process has ended."""
        return self._process.poll() if self._process else None

    def wait(self, seconds: float) -> None:
        """Waits until the process ends, for at most `seconds`."""
        if self._process:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(seconds)

    def start(self) -> None:
        """Starts the command; a log over MAX_LOG_BYTES is renamed to .log.1 first."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        if self.log.exists() and self.log.stat().st_size > MAX_LOG_BYTES:
            self.log.replace(self.log.with_suffix(".log.1"))
        with self.log.open("ab") as file:
            self._process = supervised(self.command, self.root, self.grace, stdout=file.fileno(), env=self.env)
        self._started, self._due = time.monotonic(), None

    def restart_if_ended(self) -> bool:
        """Restarts a command that has ended, once its delay is over; returns whether it did."""
        if self._process is None or self._process.poll() is None:
            return False
        now = time.monotonic()
        if self._due is None:
            self._delay = FIRST_DELAY if now - self._started > RESET_SECONDS else self._delay
            log(f"{self.name} ended with exit code {self._process.returncode}; restarting it in {self._delay:g} s")
            self._due, self._delay = now + self._delay, min(2 * self._delay, LONGEST_DELAY)
        if now < self._due:
            return False
        self.start()
        return True

    def stop(self) -> None:
        """Stops the command and waits for its end."""
        if self._process is not None:
            assert self._process.stdin is not None
            self._process.stdin.close()
            self._process.wait()
            self._process = None

    def last_line(self) -> str:
        """The last line of the log that is not empty."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").split("\n") if self.log.exists() else []
        return next((line.strip() for line in reversed(lines) if line.strip()), "no output")


def log(message: str) -> None:
    """Prints a line with the time, for the supervisor's log."""
    print(f"{datetime.now().astimezone():%Y-%m-%d %H:%M:%S} {message}", flush=True)
