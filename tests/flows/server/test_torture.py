"""kill -9 of every part of a box at a random moment of a real training: nobody is left over, and the next run ends with
the unbroken run's bits.

`make test` kills each part once; `make torture` ten times, or KILLS times, and says which. SEED repeats the moments.
"""

import os
import random
import signal
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.flows.conftest import lives, until
from tests.flows.server.training_server import PARTS, TrainingServer

pytestmark = pytest.mark.long

KILLS = int(os.environ.get("KILLS") or 1)
SEED = os.environ.get("SEED") or str(int(time.time()) if KILLS > 1 else 1)
SECONDS_TO_END = 15.0
TRIES = 5
POLL_SECONDS = 0.1
TARGETS = (*PARTS, "worker", "server", "everything")


class Unbroken:
    """A run that nobody disturbs: its bits, and from when to when, in seconds, each target lived."""

    def __init__(self, training_server: TrainingServer) -> None:
        training_server.empty()
        run, seen = training_server.start("retrain", models="gan"), dict[str, list[float]]()
        training_server.wait(run, "RUNNING")
        start = time.monotonic()
        while training_server.state(run)["type"] == "RUNNING":
            for target in PARTS:
                if training_server.part(target):
                    seen.setdefault(target, []).append(time.monotonic() - start)
            time.sleep(POLL_SECONDS)
        self.seconds = time.monotonic() - start
        assert training_server.state(run)["name"] == "Released", training_server.state(run)
        self.windows = {target: (times[0], times[-1]) for target, times in seen.items()}
        self.bits = training_server.released()


@pytest.fixture(scope="module")
def unbroken(training_server: TrainingServer) -> Unbroken:
    return Unbroken(training_server)


def victims(training_server: TrainingServer, target: str) -> list[psutil.Process]:
    """Whom to kill, at once: one process, or every one that there is, as when the power is cut."""
    if target == "everything":
        return list(training_server.processes())
    found = training_server.part(target)
    return [found] if found else []


def strike(training_server: TrainingServer, target: str, run: str, moment: float) -> list[psutil.Process] | None:
    """Kills a target that many seconds after the run began, or when it next lives; returns whom it had started.

    Nobody is killed, and None returned, when the run ends before.
    """
    training_server.wait(run, "RUNNING")
    time.sleep(moment)
    while training_server.state(run)["type"] == "RUNNING":
        if found := victims(training_server, target):
            dependents = [child for process in found for child in children(process)]
            for process in found:
                with suppress(psutil.NoSuchProcess):
                    process.send_signal(signal.SIGKILL)
            return dependents
        time.sleep(POLL_SECONDS)
    return None


def children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []


@pytest.mark.parametrize("number", range(KILLS))
@pytest.mark.parametrize("target", TARGETS)
def test_after_a_kill_nobody_is_left_and_the_next_run_ends_as_if_nothing_had_been(
    training_server: TrainingServer, unbroken: Unbroken, target: str, number: int
) -> None:
    seed = f"{SEED} {target} {number}"
    chance, dependents = random.Random(seed), None
    for _ in range(TRIES):
        moment = chance.uniform(*unbroken.windows.get(target, (0.0, unbroken.seconds)))
        training_server.empty()
        run = training_server.start("retrain", models="gan")
        if (dependents := strike(training_server, target, run, moment)) is not None:
            break
    assert dependents is not None, f"every run ended before its {target} could be killed"
    killed = time.monotonic()
    until(lambda: not any(lives(process.pid) for process in dependents), SECONDS_TO_END)
    gone = time.monotonic() - killed
    training_server.locks()
    if target == "everything":
        training_server.up()
    first = training_server.ended(run)["name"]
    until(lambda: not training_server.of_runs(), SECONDS_TO_END)
    published = "gan#live#1" in training_server.tags()  # before it was killed, at the very end
    second = training_server.ended(training_server.start("retrain", models="gan"))
    print(f"{seed}: at {moment:.1f} s; dependents gone after {gone:.1f} s; that run {first}, the next {second['name']}")
    assert second["name"] == ("Nothing new" if published else "Released"), second["message"]
    assert first == "Released" or target not in ("server", "trainer"), "a retry is enough, and trainings have one"
    assert training_server.released() == unbroken.bits
    assert training_server.tags() == ["gan#live#1", "gan@v1.0.0"]
    assert not training_server.must("git", "status", "--porcelain") and worktrees(training_server) == []
    until(lambda: not training_server.of_runs(), SECONDS_TO_END)


def worktrees(training_server: TrainingServer) -> list[Path]:
    return [path for path in (training_server / ".work/worktrees").iterdir() if path.name != "setup"]
