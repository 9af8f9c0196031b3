"""kill -9 of every process at a random moment of a real training: no process is left, and the next run's results have
the bits of an undisturbed run.

`make test` kills each part once, `make torture` ten times, or KILLS times. The same SEED gives the same moments.
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


class Undisturbed:
    """An undisturbed run: its bits, and the times in seconds between which each target ran."""

    def __init__(self, training_server: TrainingServer) -> None:
        training_server.reset()
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
def undisturbed(training_server: TrainingServer) -> Undisturbed:
    return Undisturbed(training_server)


def victims(training_server: TrainingServer, target: str) -> list[psutil.Process]:
    """The processes to kill at once: one, or all, as in a power cut."""
    if target == "everything":
        return list(training_server.processes())
    found = training_server.part(target)
    return [found] if found else []


def kill(training_server: TrainingServer, target: str, run: str, moment: float) -> list[psutil.Process] | None:
    """Kills a target `moment` seconds after the run began, or when it next runs; returns the target's descendants.

    Kills nothing and returns None when the run ends before.
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
def test_after_a_kill_no_process_is_left_and_the_next_run_has_the_same_bits(
    training_server: TrainingServer, undisturbed: Undisturbed, target: str, number: int
) -> None:
    seed = f"{SEED} {target} {number}"
    chance, dependents = random.Random(seed), None
    for _ in range(TRIES):
        moment = chance.uniform(*undisturbed.windows.get(target, (0.0, undisturbed.seconds)))
        training_server.reset()
        run = training_server.start("retrain", models="gan")
        if (dependents := kill(training_server, target, run, moment)) is not None:
            break
    assert dependents is not None, f"every run ended before its {target} could be killed"
    killed = time.monotonic()
    until(lambda: not any(lives(process.pid) for process in dependents), SECONDS_TO_END)
    gone = time.monotonic() - killed
    training_server.locks()
    if target == "everything":
        training_server.up()
    first = training_server.wait_for_end(run)["name"]
    until(lambda: not training_server.run_processes(), SECONDS_TO_END)
    published = "gan#live#1" in training_server.tags()  # it was killed at its very end
    second = training_server.wait_for_end(training_server.start("retrain", models="gan"))
    print(f"{seed}: at {moment:.1f} s; dependents gone after {gone:.1f} s; that run {first}, the next {second['name']}")
    assert second["name"] == ("Nothing new" if published else "Released"), second["message"]
    assert first == "Released" or target not in ("server", "trainer"), "trainings have one retry, which is enough"
    assert training_server.released() == undisturbed.bits
    assert training_server.tags() == ["gan#live#1", "gan@v1.0.0"]
    assert not training_server.run_checked("git", "status", "--porcelain") and worktrees(training_server) == []
    until(lambda: not training_server.run_processes(), SECONDS_TO_END)


def worktrees(training_server: TrainingServer) -> list[Path]:
    return [path for path in (training_server / ".work/worktrees").iterdir() if path.name != "setup"]
