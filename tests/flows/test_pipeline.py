"""`imagewright run` as a process: its output, how it ends, and that no process of it is left."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from filelock import FileLock

from tests.flows.conftest import ROOT, Toy, lives, until

TRAINER = """
import os, time
try:
    open("pids", "a").write(f"{os.getpid()}\\n")
    time.sleep(60)
except KeyboardInterrupt:
    open("saved", "w").close()
    raise
"""


@pytest.fixture
def training(toy: Toy) -> Toy:
    """A toy with two trainings that share one device, each of which runs until it is stopped."""
    (toy / "train.py").write_text(TRAINER)
    toy.stage("train_gan", cmd="python train.py", resource="device")
    toy.stage("train_vae", cmd="python train.py", resource="device")
    return toy


def trainer(toy: Toy) -> int:
    """Waits for the only trainer that was started; returns its process id."""
    until(lambda: (toy / "pids").exists() and (toy / "pids").read_text().endswith("\n"))
    return int((toy / "pids").read_text())


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_lets_trainers_save_and_leaves_no_process(
    training: Toy, server: str, signum: signal.Signals, code: int
) -> None:
    process = training.start(PREFECT_API_URL=server)
    pid = trainer(training)
    os.killpg(process.pid, signum)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == code, output
    assert "\nTraceback" not in output
    until(lambda: not lives(pid), seconds=20)
    assert (training / "saved").exists()
    assert trainer(training) == pid, "the training that waited for the device was not started"
    until(lambda: json.loads((training / ".dvc/tmp/rwlock").read_text()) == {}, seconds=20)


STUCK = """
import signal, time
from flows.core import terminal
terminal.PATIENCE_SECONDS = 0.5
signal.signal(signal.SIGINT, terminal._interrupt)
signal.signal(signal.SIGTERM, terminal._interrupt)
try:
    print("ready", flush=True)
    time.sleep(60)
except (KeyboardInterrupt, SystemExit):
    time.sleep(60)
"""


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_that_is_ignored_ends_the_process_by_force(signum: signal.Signals, code: int) -> None:
    with subprocess.Popen([sys.executable, "-c", STUCK], cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signum)
        assert process.wait(timeout=60) == code


@pytest.mark.long
def test_when_a_run_is_killed_its_trainers_and_its_server_stop(training: Toy) -> None:
    process = training.start(PREFECT_API_URL="")
    assert process.stdout
    assert process.stdout.readline().startswith("train_"), "Prefect prints nothing on the terminal"
    trained = trainer(training)
    family = psutil.Process(process.pid).children(recursive=True)
    assert trained in [child.pid for child in family]
    assert any("prefect.server.api.server:create_app" in child.cmdline() for child in family)
    assert (training / ".work/prefect/prefect.db").exists()
    process.kill()
    process.communicate()
    until(lambda: not any(lives(child.pid) for child in family), seconds=20)


def test_a_run_prints_its_outcomes_metrics_and_paths(toy: Toy, server: str) -> None:
    (toy / "data/metrics").mkdir()
    toy.stage("evaluate", cmd="""echo '{"distance": 1.5}' > data/metrics/gan.json; touch data/evaluate""")
    toy.stage("gan", cmd="mkdir -p data/bundle/gan; touch data/bundle/gan/model.onnx")
    toy.stages["gan"]["outs"] = ["data/bundle/gan"]
    toy.write()
    (toy / "dvc.lock").write_text("schema: '2.0'\n")
    toy.commit()
    process = toy.start(PREFECT_API_URL=server)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    stages, metrics, paths, record = output.split("\n\n")[1:]
    assert [line.split()[:2] for line in stages.splitlines()] == [["evaluate", "Ran"], ["gan", "Ran"]]
    assert metrics.split() == ["gan", "distance", "1.5"]
    assert paths == str(toy / "data/bundle/gan")
    changed = "data/metrics dvc.lock"  # one is new, one was committed
    assert record.startswith(f"Changed in git: {changed}. Keep this with `git add {changed} && git commit -m Retrain`")
    assert all(line.split(" | ")[0] in toy.stages for line in output.split("\n\n")[0].splitlines())
    toy.run("sh", "-c", record.split("`")[3].removesuffix(" && dvc checkout"))
    assert (toy / "dvc.lock").read_text() == "schema: '2.0'\n"
    assert not (toy / "data/metrics").exists()


@pytest.mark.long
def test_a_second_run_in_the_checkout_waits_and_prints_so(toy: Toy) -> None:
    toy.stage("prepared")
    (toy / ".work").mkdir()
    with FileLock(toy / ".work/run.lock"):
        process = toy.start()
        assert process.stdout is not None
        assert process.stdout.readline().startswith("waiting for another run in this checkout to end")
        assert toy.ran() == [] and process.poll() is None
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    assert toy.ran() == ["prepared"]


def test_missing_data_ends_with_one_sentence(toy: Toy) -> None:
    toy.stage("prepared")
    (toy / "data/raw/image").unlink()
    Path(toy / "data/raw").rmdir()
    process = toy.start()
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 2
    assert output == "error: data/raw is missing or not tracked by DVC; run `make data`\n"


def test_a_failed_stage_is_exit_code_1_with_its_reason(toy: Toy, server: str) -> None:
    toy.stage("prepared", cmd="python mistake.py 'no images; add some'")
    process = toy.start(PREFECT_API_URL=server)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "prepared failed: no images; add some" in output
    assert output.splitlines()[-1] == "error: prepared failed; finished stages are kept, run this again"
