"""The whole pipeline on real digits through both entry points, `dvc repro` and the flow, in real checkouts."""

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

pytestmark = pytest.mark.long

SMALL = {
    "threads": 1,
    "reference__channels": 4,
    "reference__stop__n_images": 2560,
    "reference_second__channels": 4,
    "reference_second__stop__n_images": 2560,
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
    "evaluate__iwae_images": 4,
    "evaluate__iwae_samples": 8,
    "evaluate__accuracy_epochs": 1,
    "bundle__golden": 4,
}
STAGES = 11
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
    checkout = prepare(tmp_path_factory.mktemp("end_to_end") / "project")
    assert len(repro(checkout)) == STAGES
    return checkout


@pytest.fixture
def restored(finished: Checkout) -> Iterator[Checkout]:
    """The finished checkout; edits of parameters, code and tracked results are undone afterwards."""
    record = [path for folder in ("metrics", "curves") for path in (finished / "data" / folder).iterdir()]
    names = ["params.yaml", "dvc.lock", EVALUATE, *(path.relative_to(finished.path).as_posix() for path in record)]
    kept = {name: (finished / name).read_bytes() for name in names}
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


def test_dvc_shows_metrics_and_plots(restored: Checkout) -> None:
    shown = json.loads(restored.run("dvc", "metrics", "show", "--json").stdout)[""]["data"]
    for model in ("gan", "vae"):
        metrics = shown[f"data/metrics/{model}.json"]["data"]
        assert all(isinstance(value, float) for value in (metrics | metrics.pop("second")).values())
        assert {"fd_relative", "coverage"} <= metrics.keys()
    plots = restored.run("dvc", "plots", "show", "-o", "plots")
    assert plots.returncode == 0 and "failed" not in plots.stderr, plots.stderr
    pictures = {path.name for path in (restored / "plots/static").iterdir()}
    assert len(pictures) == 7 and "workspace_data_samples_gan_worst.png" in pictures
    page = (restored / "plots/index.html").read_text()
    assert all(name in page for name in ("loss_d", "probe", "kl", "background 24", "noise 16"))
    shutil.rmtree(restored / "plots")


def test_dvc_compares_the_metrics_and_plots_of_two_runs(restored: Checkout) -> None:
    for command in (["add", "-A"], ["commit", "-qm", "Run"]):
        assert restored.run("git", "-c", "user.name=T", "-c", "user.email=t@example.com", *command).returncode == 0
    restored.set_params(evaluate__seed=1)
    assert repro(restored) == ["evaluate_gan", "evaluate_vae", "bundle_gan", "bundle_vae"]
    changed = json.loads(restored.run("dvc", "metrics", "diff", "--json").stdout)["data/metrics/gan.json"]
    assert {"old", "new", "diff"} <= changed["fd_relative"].keys()
    assert restored.run("dvc", "plots", "diff", "-o", "plots").returncode == 0
    pictures = {path.name for path in (restored / "plots/static").iterdir()}
    assert {"HEAD_data_samples_gan_grid.png", "workspace_data_samples_gan_grid.png"} <= pictures
    shutil.rmtree(restored / "plots")


def test_one_branch_runs_for_its_parameter_and_comes_back_without_training(restored: Checkout) -> None:
    before = hashes(restored)
    restored.set_params(train_vae__beta=2.0)
    assert repro(restored) == ["train_vae", "export_vae", "evaluate_vae", "bundle_vae"]
    assert hashes(restored)["data/weights/vae"] != before["data/weights/vae"]
    restored.set_params(train_vae__beta=1.0)
    assert repro(restored) == []
    assert hashes(restored) == before


def test_a_new_evaluation_trains_nothing(restored: Checkout) -> None:
    with (restored / EVALUATE).open("a") as file:
        file.write("# another comment\n")
    assert set(status(restored)) == {"evaluate_gan", "evaluate_vae"}


def test_weights_cut_short_are_refused(restored: Checkout) -> None:
    path = restored / "data/weights/gan/weights.safetensors"
    whole = path.read_bytes()
    path.unlink()  # it may be a link into DVC's cache
    path.write_bytes(whole[: len(whole) // 2])
    done = restored.python("-m", "tasks.export", "gan")
    assert done.returncode == 2
    assert re.fullmatch(r"error: data/weights/gan/weights\.safetensors is damaged \(.*\); .*\n", done.stderr)
    assert len(list((restored / "data/onnx/gan").iterdir())) == 4  # the float32 file and its variants are kept
    shutil.rmtree(path.parent)


def test_killed_in_another_folder_and_resumed_it_ends_with_the_same_bytes(finished: Checkout, tmp_path: Path) -> None:
    """After kill -9 in training, a truncated checkpoint and a resume, every hash equals the uninterrupted run's."""
    other = prepare(tmp_path / "elsewhere")
    assert repro(other, "preprocess", "reference") == ["preprocess", "reference"]
    checkpoint = kill_during_training(other)
    whole = checkpoint.read_bytes()
    checkpoint.write_bytes(whole[:-100])
    refused = other.python("-m", "tasks.train.gan")
    assert refused.returncode == 2
    assert f"error: {checkpoint} is damaged" in refused.stderr
    checkpoint.write_bytes(whole)
    resumed = other.run("dvc", "--wait-for-lock", "repro", "bundle_gan", "train_vae")
    assert resumed.returncode == 0, resumed.stderr
    assert "resuming from image" in resumed.stdout
    made = hashes(other)
    made_here = {"data/reference", "data/reference_second", "data/weights/gan", "data/weights/vae", "data/bundle/gan"}
    assert made_here <= made.keys()
    assert made == {path: hash_ for path, hash_ in hashes(finished).items() if path in made}


def kill_during_training(checkout: Checkout) -> Path:
    """Starts the GAN's training and kills it after its first checkpoint, whose path it returns."""
    folder = checkout / ".work/checkpoints/train_gan"
    command = [sys.executable, "-m", "tasks.train.gan"]
    trainer = subprocess.Popen(command, cwd=checkout.path, env=checkout.environment(), stdout=subprocess.DEVNULL)
    while not (found := list(folder.glob("*/checkpoint.safetensors"))):
        assert trainer.poll() is None, "the training ended before it wrote a checkpoint"
        time.sleep(0.01)
    os.kill(trainer.pid, signal.SIGKILL)
    assert trainer.wait() == -signal.SIGKILL
    assert not (checkout / "data/weights/gan").exists()
    return found[0]
