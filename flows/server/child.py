"""One of the keeper's children: a supervised process that is started again whenever it ends."""

import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from flows.core.processes import supervised

FIRST_DELAY = 1.0  # seconds before a child that ended is started again; doubles each time
LONGEST_DELAY = 60.0
SETTLED_SECONDS = 300.0  # a child that lived this long begins with the first delay again
MAX_LOG_BYTES = 2**24


@dataclass
class Child:
    """A command that runs in `root` as long as the keeper wants it to; what it says is added to `log`."""

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
        """The supervisor's process id, None while it does not run."""
        return self._process.pid if self._process and self._process.poll() is None else None

    @property
    def code(self) -> int | None:
        """How it ended; None while it runs, and before."""
        return self._process.poll() if self._process else None

    def wait(self, seconds: float) -> None:
        """Waits until it ends by itself, but no longer than that."""
        if self._process:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(seconds)

    def start(self) -> None:
        """Starts it; a log that has grown large is put aside first, in the place of the one before."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        if self.log.exists() and self.log.stat().st_size > MAX_LOG_BYTES:
            self.log.replace(self.log.with_suffix(".log.1"))
        with self.log.open("ab") as file:
            self._process = supervised(self.command, self.root, self.grace, stdout=file.fileno(), env=self.env)
        self._started, self._due = time.monotonic(), None

    def tend(self) -> bool:
        """Starts it again if it has ended and its delay is over; says whether it did."""
        if self._process is None or self._process.poll() is None:
            return False
        now = time.monotonic()
        if self._due is None:
            self._delay = FIRST_DELAY if now - self._started > SETTLED_SECONDS else self._delay
            say(f"the {self.name} ended with {self._process.returncode}; started again in {self._delay:g} s")
            self._due, self._delay = now + self._delay, min(2 * self._delay, LONGEST_DELAY)
        if now < self._due:
            return False
        self.start()
        return True

    def stop(self) -> None:
        """Ends it and waits for its end."""
        if self._process is not None:
            assert self._process.stdin is not None
            self._process.stdin.close()
            self._process.wait()
            self._process = None

    def tail(self) -> str:
        """The last line that it said."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").split("\n") if self.log.exists() else []
        return next((line.strip() for line in reversed(lines) if line.strip()), "nothing")


def say(words: str) -> None:
    """Puts a line with the time into the keeper's log."""
    print(f"{datetime.now().astimezone():%Y-%m-%d %H:%M:%S} {words}", flush=True)
