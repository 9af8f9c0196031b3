"""Why a stage failed and what to do about it, from what it raised: for Prefect's UI, for the flow's last message."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from prefect.artifacts import create_markdown_artifact

from flows.core.processes import StageError
from tasks.common.errors import UserError

LINES = 10  # of what the stage said last

AGAIN = "start the run again: finished stages are kept, and a training goes on from its checkpoint"
LESS_MEMORY = (
    "End other programs on this machine, or lower micro_batch (the same result in less memory) or channels of this "
    f"stage, or threads, in params.yaml; then {AGAIN}."
)


@dataclass(frozen=True)
class Failure:
    """A stage that failed: one sentence that says why, what to do, and its last lines where they help."""

    stage: str
    sentence: str
    advice: str
    lines: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.stage} failed: {self.sentence}\n  {self.advice}"


@dataclass(frozen=True)
class _Cause:
    """What a stage's last words give away."""

    pattern: re.Pattern[str]
    sentence: str
    advice: str


CAUSES = (
    _Cause(
        re.compile(r"No space left on device|Disk quota exceeded|the disk is full"),
        "the disk is full",
        "Free some space (`dvc gc --all-branches --all-tags` drops what no branch and no release needs, but do push "
        f"first); then {AGAIN}.",
    ),
    _Cause(
        re.compile(r"exited with (-9|137)\b"),
        "it was killed by signal 9, as the system does when memory runs out",
        LESS_MEMORY,
    ),
    _Cause(
        re.compile(r"MemoryError\b|[Cc]an(no|')t allocate memory"),
        "the machine's memory did not suffice",
        LESS_MEMORY,
    ),
    _Cause(
        re.compile(r"exited with (-15|143|-2|130)\b"),
        "somebody or something outside of the run stopped it",
        f"If that was not meant, {AGAIN}.",
    ),
    _Cause(
        re.compile(r"the DVC remote refused it"),
        "the DVC remote refused it; nothing is lost, the data is in the cache",
        "Mend the remote, or the credentials for it; then release what was made by the deployment gate-and-release.",
    ),
    _Cause(
        re.compile(r"is busy, it is being blocked by"),
        "another dvc command is at work on the same files",
        f"Wait until it ends, or stop the process that is named below; then {AGAIN}.",
    ),
)
MISTAKE = f"Do what it says; then {AGAIN}."
WRONG_PARAMETER = f"Correct it there, or in the form that started the run; then {AGAIN}."
DEADLINE = (
    "If it was merely slow, raise its `deadline` under `meta` in dvc.yaml; if it hung, the end of its log says where. "
    f"Then {AGAIN}."
)
UNFORESEEN = (
    "Nobody foresaw this: the lines below and the stage's log say where it happened. If it looks like chance, "
    f"{AGAIN}; if it comes back, it is a fault of the program."
)


def failure_of(stage: str, error: BaseException) -> Failure:
    """What to say of a stage that raised `error`."""
    text = str(error)
    if isinstance(error, TimeoutError):
        return Failure(stage, text, DEADLINE)
    lines = tuple(line for line in text.splitlines() if line.strip())
    mistake = isinstance(error, UserError) or (isinstance(error, StageError) and error.mistake)
    for cause in CAUSES:
        if cause.pattern.search(text):
            return Failure(stage, text if mistake else cause.sentence, cause.advice, () if mistake else lines[-LINES:])
    if mistake:
        return Failure(stage, text, WRONG_PARAMETER if text.startswith("params.yaml") else MISTAKE)
    return Failure(stage, _last_words(lines) or type(error).__name__, UNFORESEEN, lines[-LINES:])


def _last_words(lines: Sequence[str]) -> str:
    """The stage's own last line, which stands between DVC's."""
    own = [line for line in lines if not line.startswith(("Running stage ", "> ", "ERROR: "))]
    return (own or [*lines] or [""])[-1].strip()


def failures_text(failures: Iterable[Failure]) -> str:
    """What the terminal and the flow's last state say."""
    return "\n".join(map(str, failures))


def failures_markdown(failures: Iterable[Failure]) -> str:
    """The same as a page, with the last lines."""
    return "\n\n".join(_section(failure) for failure in failures)


def publish_failures(failures: Sequence[Failure]) -> None:
    """Makes the artifact `failure`; none where nothing failed."""
    if failures:
        names = " and ".join(failure.stage for failure in failures)
        create_markdown_artifact(
            key="failure", markdown=failures_markdown(failures), description=f"Why {names} failed, and what to do"
        )


def _section(failure: Failure) -> str:
    parts = [f"## {failure.stage} failed", failure.sentence, f"**What to do.** {failure.advice}"]
    if failure.lines:
        fence = "~~~"  # a line of a stage may hold backticks
        parts.append("\n".join(["What it said last:", "", fence, *failure.lines, fence]))
    return "\n\n".join(parts)
