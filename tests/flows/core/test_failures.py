"""The explanations of failed stages, for real processes that fail as stages do."""

import subprocess
import sys

import pytest
from prefect import flow
from prefect.artifacts import Artifact

from flows.core.dag import read_dag
from flows.core.failures import Failure, failure_of, publish_failures
from flows.core.processes import ProcessGroup
from tasks.common.errors import UserError
from tests.flows.conftest import Toy, until

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def fail(toy: Toy, cmd: str, **meta: object) -> Failure:
    """Returns the explanation for a stage that runs `cmd`."""
    toy.stage("train_gan", cmd=cmd, **meta)
    (stage,) = read_dag(toy.path).stages
    with pytest.raises(Exception) as caught:  # noqa: PT011 - failure_of decides by the type
        ProcessGroup(toy.path).run_stage(stage, lambda line: None)
    return failure_of(stage.name, caught.value)


ALLOCATE = "python -c 'import torch; torch.zeros(2**46)'"
WRITE = """python -c 'import errno; raise OSError(errno.ENOSPC, "No space left on device")'"""
MISTAKE = "python mistake.py 'params.yaml: `threads` is 0: input should be greater than 0; correct it there'"


@pytest.mark.parametrize(
    ("cmd", "sentence", "advice"),
    [
        ("echo at work; kill -9 $$", "killed by signal 9", "lower micro_batch"),
        ("kill -15 $$", "a signal from outside the run stopped it", "If nobody meant to stop it, start the run again"),
        (ALLOCATE, "the machine has too little memory", "lower micro_batch"),
        (WRITE, "the disk is full", "Free some space"),
        ("python mistake.py 'the disk is full under /data; free space and rerun'", "under /data", "Free some space"),
        (MISTAKE, "`threads` is 0", "the form that started the run"),
        ("python mistake.py 'no images; add some'", "no images; add some", "Do what the message says"),
        ("echo 'error: no images; add some'; kill -9 $$", "killed by signal 9", "lower micro_batch"),
        ("""python -c 'raise ValueError("no such loss")'""", "ValueError: no such loss", "The cause is unknown"),
        ("exit 7", "exited with 7", "The cause is unknown"),
    ],
)
def test_a_cause_comes_with_advice(toy: Toy, cmd: str, sentence: str, advice: str) -> None:
    failure = fail(toy, cmd)
    assert sentence in str(failure).splitlines()[0]
    assert advice in failure.advice
    assert len(failure.sentence.splitlines()) == 1


def test_a_deadline_says_where_it_is_set(toy: Toy) -> None:
    failure = fail(toy, "sleep 60", deadline=2)
    assert "deadline of 2 s" in failure.sentence
    assert "`deadline` under `meta` in dvc.yaml" in failure.advice


def test_another_dvc_process_is_named(toy: Toy) -> None:
    toy.stage("train_gan", cmd="touch begun; sleep 20")
    other = subprocess.Popen(
        [sys.executable, "-m", "dvc", "repro", "-s", "train_gan"], cwd=toy.path, env=toy.environment()
    )
    try:
        until((toy / "begun").exists, 30)
        failure = fail(toy, "touch begun; sleep 20")
    finally:
        other.kill()
        other.wait()
    assert "another dvc command" in failure.sentence
    assert any(f"(PID {other.pid})" in line for line in failure.lines)


def test_a_mistake_in_the_flow_itself_is_explained_as_well() -> None:
    failure = failure_of("release", UserError("the branch moved on; merge it"))
    assert str(failure).startswith("release failed: the branch moved on; merge it\n  Do what the message says; then")


@pytest.mark.usefixtures("server")
def test_the_artifact_has_the_last_lines(toy: Toy) -> None:
    failure = fail(toy, "echo ``tricky``; echo working; kill -9 $$")

    @flow
    def show() -> None:
        publish_failures([])
        publish_failures([failure])

    show()
    artifact = Artifact.get("failure")
    assert artifact
    page = str(artifact.data)
    assert page.startswith("## train_gan failed\n\nit was killed by signal 9")
    assert "**What to do.** End other programs" in page
    assert "~~~\n" in page and "\nworking\nERROR: failed to reproduce" in page
    assert artifact.description == "Why train_gan failed, and what to do"
