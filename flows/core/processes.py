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

Log = Callable[[str], None]

SUPERVISOR = Path(__file__).with_name("supervise.py")
GRACE_SECONDS = 5.0  # after each of three signals; a checkpoint is written within the first
TAIL_LINES = 15

RUNNING = re.compile(r"Running stage '.*':?$")
UNCHANGED = re.compile(r"Stage '.*' (didn't change, skipping|is cached - skipping run)")
CHATTER = re.compile(
    r"\s*$|(Generating|Updating) lock file|To track the changes with git, run:|\s+git add |"
    r"To enable auto staging, run:|\s+dvc config core\.autostage|Use `dvc push` to send your updates|"
    r"Data and pipelines are up to date\.|Having any troubles\?|<https://error\.dvc\.org"
)


class Outcome(StrEnum):
    """What became of a stage."""

    RAN = "Ran"
    CACHED = "Cached"
    FAILED = "Failed"
    SKIPPED = "Skipped"


@dataclass(frozen=True)
class StageRun:
    """One stage of a run: what became of it, how long its process took, and the reason where it failed."""

    name: str
    outcome: Outcome
    seconds: float = 0.0
    reason: str = ""


class StageError(Exception):
    """A stage failed; the message is its sentence, or what it said last. `mistake`: a person's, so no retry helps."""

    def __init__(self, message: str, mistake: bool = False) -> None:
        super().__init__(message)
        self.mistake = mistake


class StoppedError(Exception):
    """The run was stopped, so this command was not started or did not end by itself."""


class ProcessGroup:
    """The processes of one run in the folder `root`; as a context it stops them when its block is broken off."""

    def __init__(self, root: Path, grace: float = GRACE_SECONDS) -> None:
        self.root = root
        self.grace = grace
        self._live: set[subprocess.Popen[str]] = set()
        self._stopped = False
        self._changed = threading.Lock()

    def run_stage(self, stage: Stage, say: Log, more: Mapping[str, str] | None = None) -> StageRun:
        """Runs one stage, as far as DVC finds that it must, with `more` in its environment; passes its lines to `say`.

        Raises StageError when it fails, TimeoutError when it passes its deadline and StoppedError after `stop_all`.
        """
        outcomes: list[Outcome] = []

        def listen(line: str) -> None:
            if RUNNING.match(line):
                outcomes.append(Outcome.RAN)
            elif UNCHANGED.match(line):
                outcomes.append(Outcome.CACHED)
            if not CHATTER.match(line):
                say(line)

        seconds = self.run(dvc_command("repro", "-s", stage.name), listen, stage.policy.deadline, more=more)
        # DVC's verdict comes before anything that the stage itself prints.
        return StageRun(stage.name, outcomes[0] if outcomes else Outcome.RAN, seconds)

    def __enter__(self) -> "ProcessGroup":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind:
            self.stop_all()

    def run(
        self,
        command: Sequence[str],
        say: Log,
        deadline: float,
        fine: Collection[int] = (0,),
        more: Mapping[str, str] | None = None,
    ) -> float:
        """Runs a command to its end, passes its lines to `say` and returns its seconds; raises as `run_stage` does.

        `fine` are the exit codes that are no failure, `more` is added to the command's environment.
        """
        with TemporaryDirectory(prefix="imagewright-") as folder:
            file = Path(folder) / "mistake.json"
            return self._run(command, say, deadline, fine, {**(more or {}), VARIABLE: str(file)}, file)

    def _run(
        self,
        command: Sequence[str],
        say: Log,
        deadline: float,
        fine: Collection[int],
        more: Mapping[str, str],
        mistake: Path,
    ) -> float:
        tail: deque[str] = deque(maxlen=TAIL_LINES)
        start = time.monotonic()
        expired = threading.Event()
        process = self._start(command, more)

        def expire() -> None:
            expired.set()
            _let_go(process)

        timer = threading.Timer(deadline, expire)
        timer.start()
        try:
            for line in _lines(process):
                tail.append(line)
                say(line)
        finally:
            timer.cancel()
            code = self._end(process)
        if self._stopped:
            raise StoppedError("the run was stopped")
        if expired.is_set():
            raise TimeoutError(f"it was stopped at its deadline of {deadline:g} s")
        if code not in fine:
            raise _error(tail, code, read_mistake(mistake))
        return time.monotonic() - start

    def stop_all(self) -> None:
        """Stops every live command and refuses to start others; does not wait for their end."""
        with self._changed:
            self._stopped = True
            for process in self._live:
                _let_go(process)

    def _start(self, command: Sequence[str], more: Mapping[str, str]) -> subprocess.Popen[str]:
        with self._changed:
            if self._stopped:
                raise StoppedError("the run was stopped")
            env = dvc_environment() | dict(more)
            process = supervised(command, self.root, self.grace, stdout=subprocess.PIPE, env=env)
            self._live.add(process)
            return process

    def _end(self, process: subprocess.Popen[str]) -> int:
        """Stops what may still run, and waits for it."""
        with self._changed:
            _let_go(process)
            self._live.discard(process)
        return process.wait()


def supervised(
    command: Sequence[str], root: Path, grace: float, stdout: int, env: Mapping[str, str] | None = None
) -> subprocess.Popen[str]:
    """Starts a command under a supervisor, in `root`; closing its stdin, or dying, stops the command's whole group.

    `env` stands in for `dvc_environment()`.
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


def _lines(process: subprocess.Popen[str]) -> Iterable[str]:
    assert process.stdout is not None
    with process.stdout:
        for line in process.stdout:
            yield line.rstrip()


def _let_go(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.close()


def _error(tail: Iterable[str], code: int, mistake: Mistake | None) -> StageError:
    """The sentence of a mistake that the command left, else its last lines, without DVC's own.

    A command that DVC runs for us leaves a file; one that we run ourselves has the exit code of a mistake too.
    """
    if mistake:
        return StageError(mistake.sentence, mistake=True)
    lines = [line for line in tail if not CHATTER.match(line)]
    if code == EXIT_CODE and lines:
        return StageError(lines[-1].removeprefix("error: "), mistake=True)
    return StageError("\n".join(lines) or f"it ended with exit code {code} and said nothing", code == EXIT_CODE)
