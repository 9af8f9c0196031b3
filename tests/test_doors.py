"""The whole pipeline on real digits through both of its doors, `dvc repro` and the flow, in real checkouts."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from tests.conftest import Checkout, make_checkout

SMALL = {
    "threads": 1,
    "reference__channels": 4,
    "reference__stop__n_images": 2560,
    "train_gan__channels": 4,
    "train_gan__conditional": "on",
    "train_gan__stop__n_images": 3200,
    "train_gan__log_every": 320,
    "train_gan__checkpoint_every": 320,
    "train_vae__channels": 4,
    "train_vae__stop__n_images": 2560,
    "train_vae__prior_steps": 20,
    "evaluate__n_images": 500,
    "evaluate__subsets": 10,
    "evaluate__importance_images": 4,
    "evaluate__importance_draws": 8,
    "bundle__golden": 4,
}
STAGES = 10
EVALUATE = "tasks/evaluate/__main__.py"


def prepare(path: Path) -> Checkout:
    checkout = make_checkout(path)
    checkout.set_params(**SMALL)
    ingested = checkout.python("-m", "tasks.ingest", "digits")
    assert ingested.returncode == 0, ingested.stderr
    return checkout


def repro(checkout: Checkout, *options: str) -> list[str]:
    """Runs `dvc repro`; returns the stages whose commands ran."""
    done = checkout.run("dvc", "--wait-for-lock", "repro", *options)
    assert done.returncode == 0, done.stdout + done.stderr
    return re.findall(r"^Running stage '(\w+)'", done.stdout, re.MULTILINE)


def hashes(checkout: Checkout) -> dict[str, str]:
    lock = YAML(typ="safe").load(checkout / "dvc.lock")["stages"]
    return {out["path"]: out["md5"] for stage in lock.values() for out in stage.get("outs", [])}


def status(checkout: Checkout) -> dict[str, object]:
    found: dict[str, object] = json.loads(checkout.run("dvc", "status", "--json").stdout)
    return found


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A checkout in which `dvc repro` has run everything once."""
    checkout = prepare(tmp_path_factory.mktemp("doors") / "project")
    assert len(repro(checkout)) == STAGES
    return checkout


@pytest.fixture
def restored(finished: Checkout) -> Iterator[Checkout]:
    """The finished checkout; edits to parameters and code are taken back afterwards."""
    kept = {name: (finished / name).read_bytes() for name in ("params.yaml", "dvc.lock", EVALUATE)}
    yield finished
    for name, data in kept.items():
        (finished / name).write_bytes(data)
    assert finished.run("dvc", "checkout").returncode == 0


def test_after_repro_the_flow_finds_every_stage_cached(finished: Checkout) -> None:
    before = hashes(finished)
    done = finished.python("-m", "flows.pipeline")
    assert done.returncode == 0, done.stdout + done.stderr
    summary = done.stdout
    assert len(re.findall(r"^\s*\w+\s+Cached", summary, re.MULTILINE)) == STAGES, summary
    assert (finished / "report/index.html").exists()
    assert status(finished) == {}
    assert hashes(finished) == before


def test_one_branch_runs_for_its_parameter_and_comes_back_without_training(restored: Checkout) -> None:
    before = hashes(restored)
    restored.set_params(train_vae__beta=2.0)
    assert repro(restored) == ["train_vae", "export_vae", "evaluate_vae", "bundle_vae"]
    assert hashes(restored)["data/weights/vae"] != before["data/weights/vae"]
    restored.set_params(train_vae__beta=1.0)
    assert repro(restored) == []
    assert hashes(restored) == before


def test_judging_anew_trains_nothing(restored: Checkout) -> None:
    with (restored / EVALUATE).open("a") as file:
        file.write("# another remark\n")
    assert set(status(restored)) == {"evaluate_gan", "evaluate_vae"}


def test_weights_cut_short_are_refused(restored: Checkout) -> None:
    path = restored / "data/weights/gan/weights.safetensors"
    whole = path.read_bytes()
    path.unlink()  # it may be a link into DVC's cache
    path.write_bytes(whole[: len(whole) // 2])
    done = restored.python("-m", "tasks.export", "gan")
    assert done.returncode == 2
    assert re.fullmatch(r"error: data/weights/gan/weights\.safetensors is damaged \(.*\); .*\n", done.stderr)
    assert list((restored / "data/onnx/gan").iterdir()) == [restored / "data/onnx/gan/gan.onnx"]
    shutil.rmtree(path.parent)


def test_killed_in_another_folder_and_resumed_it_ends_with_the_same_bytes(finished: Checkout, tmp_path: Path) -> None:
    """kill -9 in mid-training, a checkpoint cut short, a resume: every hash equals the unbroken run's elsewhere."""
    other = prepare(tmp_path / "elsewhere")
    assert repro(other, "preprocess", "reference") == ["preprocess", "reference"]
    checkpoint = kill_in_mid_training(other)
    whole = checkpoint.read_bytes()
    checkpoint.write_bytes(whole[:-100])
    refused = other.python("-m", "tasks.train.gan")
    assert refused.returncode == 2
    assert f"error: {checkpoint} is damaged" in refused.stderr
    checkpoint.write_bytes(whole)
    resumed = other.run("dvc", "--wait-for-lock", "repro", "bundle_gan", "train_vae")
    assert resumed.returncode == 0, resumed.stderr
    assert "going on from image" in resumed.stdout
    made = hashes(other)
    assert {"data/reference", "data/weights/gan", "data/weights/vae", "data/bundle/gan"} <= made.keys()
    assert made == {path: hash_ for path, hash_ in hashes(finished).items() if path in made}


def kill_in_mid_training(checkout: Checkout) -> Path:
    """Starts the GAN's training, kills it once it has left a checkpoint, and returns that."""
    folder = checkout / ".work/checkpoints/train_gan"
    command = [sys.executable, "-m", "tasks.train.gan"]
    trainer = subprocess.Popen(command, cwd=checkout.path, env=checkout.environment(), stdout=subprocess.DEVNULL)
    while not (found := list(folder.glob("*/checkpoint.safetensors"))):
        assert trainer.poll() is None, "the training ended before it left a checkpoint"
        time.sleep(0.01)
    os.kill(trainer.pid, signal.SIGKILL)
    assert trainer.wait() == -signal.SIGKILL
    assert not (checkout / "data/weights/gan").exists()
    return found[0]
