"""Runs commands and stages as supervised processes, and stops all of them at once."""

import re
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from tempfile import TemporaryDirectory

from flows.core.dag import Stage, dvc_command, dvc_environment
from tasks.common.mistakes import EXIT_CODE, VARIABLE, Mistake, read_mistake

Log = Callable[[str], None]  # takes one line of output

SUPERVISOR = Path(__file__).with_name("supervise.py")
GRACE_SECONDS = 5.0  # wait after each of SIGINT, SIGTERM and SIGKILL; a training saves its checkpoint at the first
TAIL_LINES = 15

RUNNING = re.compile(r"Running stage '.*':?$")
UNCHANGED = re.compile(r"Stage '.*' (didn't change, skipping|is cached - skipping run)")
DVC_HINTS = re.compile(
    r"\s*$|(Generating|Updating) lock file|To track the changes with git, run:|\s+git add |"
    r"To enable auto staging, run:|\s+dvc config core\.autostage|Use `dvc push` to send your updates|"
    r"Data and pipelines are up to date\.|Having any troubles\?|<https://error\.dvc\.org"
)


class Outcome(StrEnum):
    """How a stage ended."""

    RAN = "Ran"
    CACHED = "Cached"
    FAILED = "Failed"
    SKIPPED = "Skipped"


@dataclass(frozen=True)
class StageRun:
    """One stage of a run: its outcome, the seconds its process took, and the reason if it failed."""

    name: str
    outcome: Outcome
    seconds: float = 0.0
    reason: str = ""


class StageError(Exception):
    """A stage failed; the message is its error sentence or its last output.

    `mistake` is True for an error of the user, which a retry cannot correct.
    """

    def __init__(self, message: str, mistake: bool = False) -> None:
        super().__init__(message)
        self.mistake = mistake


class StoppedError(Exception):
    """The run was stopped, so this command was not started or did not end by itself."""


class ProcessGroup:
    """The processes of one run in the folder `root`; as a context manager it stops them if its block raises."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._live: set[subprocess.Popen[str]] = set()
        self._stopped = False
        self._lock = threading.Lock()

    def __enter__(self) -> "ProcessGroup":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind:
            self.stop_all()

    def run_stage(self, stage: Stage, log: Log, environment: Mapping[str, str] | None = None) -> StageRun:
        """Runs `dvc repro` for one stage, with `environment` added to its own; passes its lines to `log`.

        Raises StageError when it fails, TimeoutError when it exceeds its deadline and StoppedError after `stop_all`.
        """
        outcomes: list[Outcome] = []

        def read(line: str) -> None:
            if RUNNING.match(line):
                outcomes.append(Outcome.RAN)
            elif UNCHANGED.match(line):
                outcomes.append(Outcome.CACHED)
            if not DVC_HINTS.match(line):
                log(line)

        seconds = self.run(dvc_command("repro", "-s", stage.name), read, stage.policy.deadline, (0,), environment)
        # DVC prints its decision before anything that the stage itself prints.
        return StageRun(stage.name, outcomes[0] if outcomes else Outcome.RAN, seconds)

    def run(
        self,
        command: Sequence[str],
        log: Log,
        deadline: float,
        accepted_exit_codes: Collection[int] = (0,),
        environment: Mapping[str, str] | None = None,
    ) -> float:
        """Runs a command, passes its lines to `log` and returns the seconds it took; raises as `run_stage` does.

        `environment` is added to that of `dvc_environment`.
        """
        start = time.monotonic()
        with TemporaryDirectory(prefix="imagewright-") as folder:
            mistake = Path(folder) / "mistake.json"
            env = dvc_environment() | dict(environment or {}) | {VARIABLE: str(mistake)}
            with self._lock:
                if self._stopped:
                    raise StoppedError("the run was stopped")
                process = supervised(command, self.root, GRACE_SECONDS, stdout=subprocess.PIPE, env=env)
                self._live.add(process)
            tail, expired = self._read(process, log, deadline)
            code = process.wait()
            if self._stopped:
                raise StoppedError("the run was stopped")
            if expired:
                raise TimeoutError(f"it exceeded its deadline of {deadline:g} s and was stopped")
            if code not in accepted_exit_codes:
                raise _error(tail, code, read_mistake(mistake))
        return time.monotonic() - start

    def stop_all(self) -> None:
        """Stops every live command and refuses to start others; does not wait for their end."""
        with self._lock:
            self._stopped = True
            for process in self._live:
                _close_stdin(process)

    def _read(self, process: subprocess.Popen[str], log: Log, deadline: float) -> tuple[Iterable[str], bool]:
        """Reads a command's output to its end, then stops what it left running.

        Returns its last lines and whether it exceeded its deadline.
        """
        tail: deque[str] = deque(maxlen=TAIL_LINES)
        expired = threading.Event()

        def expire() -> None:
            expired.set()
            _close_stdin(process)

        timer = threading.Timer(deadline, expire)
        timer.start()
        assert process.stdout
        try:
            with process.stdout as lines:
                for line in lines:
                    tail.append(line.rstrip())
                    log(tail[-1])
        finally:
            timer.cancel()
            with self._lock:
                _close_stdin(process)
                self._live.discard(process)
            process.wait()
        return tail, expired.is_set()


def supervised(
    command: Sequence[str], root: Path, grace: float, stdout: int, env: Mapping[str, str] | None = None
) -> subprocess.Popen[str]:
    """Starts a command under a supervisor in `root`; it and its whole process group stop when the returned process's
    stdin closes, or when this process dies.

    `env` replaces `dvc_environment()`.
    """
    return subprocess.Popen(
        [sys.executable, "-S", str(SUPERVISOR), str(grace), "--", *command],
        cwd=root,
        env=dvc_environment() if env is None else env,
        stdin=subprocess.PIPE,
        stdout=stdout,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        bufsize=1,
        start_new_session=True,
    )


def _close_stdin(process: subprocess.Popen[str]) -> None:
    """Tells the supervisor to stop its command."""
    assert process.stdin
    process.stdin.close()


def _error(tail: Iterable[str], code: int, mistake: Mistake | None) -> StageError:
    """Returns the error with the sentence that the command left in its mistake file, else with its last lines.

    A command that DVC runs reports an error of the user through that file; one that is run directly also reports it by
    its exit code.
    """
    if mistake:
        return StageError(mistake.sentence, mistake=True)
    lines = [line for line in tail if not DVC_HINTS.match(line)]
    if code == EXIT_CODE and lines:
        return StageError(lines[-1].removeprefix("error: "), mistake=True)
    return StageError("\n".join(lines) or f"it ended with exit code {code} and no output", code == EXIT_CODE)
