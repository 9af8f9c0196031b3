"""Explains a failed stage: the cause and what to do, for Prefect's UI and for the flow's last message."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from prefect.artifacts import create_markdown_artifact

from flows.core.processes import StageError
from tasks.common.errors import UserError

LINES = 10  # of the stage's last output

KILLED = "it was killed by signal 9, which is what the system sends when memory runs out"
AGAIN = "start the run again: finished stages are kept, and a training resumes from its checkpoint"
LESS_MEMORY = (
    "End other programs on this machine, or set a lower micro_batch (same result, less memory), fewer channels for "
    f"this stage, or fewer threads in params.yaml; then {AGAIN}."
)


@dataclass(frozen=True)
class Failure:
    """A failed stage: why it failed in one sentence, what to do, and its last lines where they help."""

    stage: str
    sentence: str
    advice: str
    lines: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.stage} failed: {self.sentence}\n  {self.advice}"


CAUSES = (  # a pattern in the last output of a stage, the cause that it shows, and what to do
    (
        r"No space left on device|Disk quota exceeded|the disk is full",
        "the disk is full",
        "Free some space (`dvc push`, then `dvc gc --all-branches --all-tags`, which drops what no branch and no "
        f"release needs); then {AGAIN}.",
    ),
    (r"exited with (-9|137)\b", KILLED, LESS_MEMORY),
    (r"MemoryError\b|[Cc]an(no|')t allocate memory", "the machine has too little memory", LESS_MEMORY),
    (
        r"exited with (-15|143|-2|130)\b",
        "a signal from outside the run stopped it",
        f"If nobody meant to stop it, {AGAIN}.",
    ),
    (
        r"the DVC remote refused the push",
        "the DVC remote refused the push; nothing is lost, the data is in DVC's cache",
        "Repair the remote or its credentials; then release the results with the deployment gate-and-release.",
    ),
    (
        r"is busy, it is being blocked by",
        "another dvc command is using the same files",
        f"Wait until it ends, or stop the process that is named below; then {AGAIN}.",
    ),
)
MISTAKE = f"Do what the message says; then {AGAIN}."
WRONG_PARAMETER = f"Correct it in params.yaml, or in the form that started the run; then {AGAIN}."
DEADLINE = (
    "If the stage was only slow, raise its `deadline` under `meta` in dvc.yaml; if it hung, the end of its log shows "
    f"where. Then {AGAIN}."
)
UNKNOWN_CAUSE = (
    "The cause is unknown: the lines below and the stage's log show where it happened. If it looks like chance, "
    f"{AGAIN}; if it happens again, report it as a bug."
)


def is_mistake(error: object) -> bool:
    """Returns whether an error is a mistake of the user, which no retry can cure."""
    return isinstance(error, UserError) or (isinstance(error, StageError) and error.mistake)


def failure_of(stage: str, error: BaseException) -> Failure:
    """Returns the explanation for a stage that raised `error`."""
    text = str(error)
    if isinstance(error, TimeoutError):
        return Failure(stage, text, DEADLINE)
    lines = tuple(line for line in text.splitlines() if line.strip())
    mistake = is_mistake(error)
    for pattern, sentence, advice in CAUSES:
        if re.search(pattern, text):
            return Failure(stage, text if mistake else sentence, advice, () if mistake else lines[-LINES:])
    if mistake:
        return Failure(stage, text, WRONG_PARAMETER if text.startswith("params.yaml") else MISTAKE)
    own = [line for line in lines if not line.startswith(("Running stage ", "> ", "ERROR: "))]  # the others are DVC's
    sentence = (own or [*lines] or [type(error).__name__])[-1].strip()
    return Failure(stage, sentence, UNKNOWN_CAUSE, lines[-LINES:])


def publish_failures(failures: Sequence[Failure]) -> None:
    """Creates the artifact `failure`, with the last lines of each stage; none when nothing failed."""
    if failures:
        names = " and ".join(failure.stage for failure in failures)
        page = "\n\n".join(part for failure in failures for part in _section(failure))
        create_markdown_artifact(key="failure", markdown=page, description=f"Why {names} failed, and what to do")


def _section(failure: Failure) -> Iterable[str]:
    yield from (f"## {failure.stage} failed", failure.sentence, f"**What to do.** {failure.advice}")
    if failure.lines:
        # The fence is of tildes because a line may hold backticks.
        yield "\n".join(["Its last output:", "", "~~~", *failure.lines, "~~~"])
