"""A training as a stage: every size from pixels to ONNX, stopping by signal and by the wall clock."""

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from PIL import Image

from tasks.common.errors import UserError
from tasks.common.params import load_params
from tasks.common.tensors import load_tensors
from tasks.train.loop import memory_errors
from tests.conftest import Checkout, make_checkout

SMALL = {
    "threads": 1,
    "preprocess__min_images": 8,
    "train_gan__channels": 2,
    "train_gan__batch": 8,
    "train_gan__stop__n_images": 16,
    "train_vae__channels": 2,
    "train_vae__batch": 8,
    "train_vae__stop__n_images": 16,
    "train_vae__prior_steps": 2,
}
EVERY_STAGE_TO_ONNX = """
import tasks.common.params, tasks.export.files, tasks.export.parity
import tasks.preprocess.__main__, tasks.train.gan, tasks.train.vae
params = tasks.common.params.load_params()
tasks.export.parity.BATCHES = (16,)  # alone: large images take long
tasks.preprocess.__main__.main(params)
tasks.train.gan.main(params)
tasks.train.vae.main(params)
for model in ("gan", "vae"):
    tasks.export.files.export(model, params)
"""


def draw(folder: Path, count: int) -> Path:
    """Colour pictures of a disc on a plain ground, in mixed sizes."""
    folder.mkdir()
    random = np.random.default_rng(0)
    for number in range(count):
        width, height = (int(side) for side in random.integers(20, 90, 2))
        y, x = np.mgrid[:height, :width]
        disc = (x - width / 2) ** 2 + (y - height / 2) ** 2 < random.integers(30, 300)
        pixels = np.where(disc[..., None], random.integers(128, 256, 3), random.integers(0, 128, 3))
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number:03}.png")
    return folder


@pytest.mark.long
@pytest.mark.parametrize("size", [28, 32, 64, 128, 256])
def test_every_size_is_trained_and_exported(checkout: Checkout, tmp_path: Path, size: int) -> None:
    checkout.set_params(**SMALL, preprocess__size=size, preprocess__color="rgb", export__variants=[])
    ingested = checkout.python("-m", "tasks.ingest", str(draw(tmp_path / "pictures", 200)))
    assert ingested.returncode == 0, ingested.stderr
    done = checkout.python("-c", EVERY_STAGE_TO_ONNX)
    assert done.returncode == 0, done.stderr
    for name in ("gan/gan.onnx", "vae/vae.onnx", "vae/encoder.onnx", "vae/decoder.onnx"):
        graph = onnx.load(checkout / "data/onnx" / name).graph
        image = graph.input[0] if name.endswith("encoder.onnx") else graph.output[0]
        sides = [axis.dim_param or axis.dim_value for axis in image.type.tensor_type.shape.dim]
        assert sides == ["N", 3, size, size]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A checkout with prepared digits and small settings."""
    checkout = make_checkout(tmp_path_factory.mktemp("prepared") / "project")
    checkout.set_params(**SMALL)
    for command in (["tasks.ingest", "digits"], ["tasks.preprocess"]):
        done = checkout.python("-m", *command)
        assert done.returncode == 0, done.stderr
    return checkout


@pytest.fixture
def digits(prepared: Checkout, tmp_path: Path) -> Checkout:
    """A copy of the prepared checkout, which is made much faster than another one."""
    return Checkout(shutil.copytree(prepared.path, tmp_path / "project", symlinks=True))


def receipt(checkout: Checkout, stage: str) -> dict[str, object]:
    (path,) = (checkout / f".work/receipts/{stage}").glob("*.json")
    facts: dict[str, object] = json.loads(path.read_text())["facts"]
    return facts


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.long)])
def test_a_signal_saves_a_checkpoint_and_the_next_run_goes_on(digits: Checkout, number: signal.Signals) -> None:
    digits.set_params(train_gan__stop__n_images=10**8, train_gan__log_every=80)
    trainer = subprocess.Popen(
        [sys.executable, "-m", "tasks.train.gan"],
        cwd=digits.path,
        env=digits.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    while not list((digits / ".work/tensorboard/train_gan").glob("*/*")):
        assert trainer.poll() is None
        time.sleep(0.02)
    time.sleep(1)
    trainer.send_signal(number)
    _, said = trainer.communicate(timeout=30)
    assert trainer.returncode == 128 + number
    assert said.decode() == f"stopped by signal {int(number)}\n"
    (checkpoint,) = (digits / ".work/checkpoints/train_gan").glob("*/checkpoint.safetensors")
    assert not (digits / "data/weights").exists()
    before = checkpoint.stat().st_mtime_ns
    again = subprocess.Popen(
        [sys.executable, "-m", "tasks.train.gan"], cwd=digits.path, env=digits.environment(), stdout=subprocess.PIPE
    )
    assert again.stdout is not None
    lines = iter(again.stdout.readline, b"")
    assert any(b"resuming from image" in line for line in lines)
    again.kill()
    again.communicate()
    assert checkpoint.stat().st_mtime_ns >= before


def test_the_wall_clock_stops_a_run_and_the_receipt_says_so(digits: Checkout) -> None:
    digits.set_params(train_gan__stop__n_images=10**8, train_gan__stop__max_seconds=1)
    done = digits.python("-m", "tasks.train.gan")
    assert done.returncode == 0, done.stderr
    facts = receipt(digits, "train_gan")
    assert facts["stopped_by"] == "wall clock"
    assert "not reproducible" in str(facts["warning"])
    assert (digits / "data/weights/gan/weights.safetensors").exists()


def test_another_key_starts_afresh_and_says_what_differs(digits: Checkout) -> None:
    assert digits.python("-m", "tasks.train.gan").returncode == 0
    digits.set_params(train_gan__seed=5)
    done = digits.python("-m", "tasks.train.gan")
    assert "training from the start, because these inputs changed: params.train_gan.seed: 0 -> 5" in done.stdout
    assert "going on" not in done.stdout


@pytest.mark.long
def test_a_lost_output_comes_back_from_the_finished_checkpoint(digits: Checkout) -> None:
    assert digits.python("-m", "tasks.train.gan").returncode == 0
    weights = digits / "data/weights/gan/weights.safetensors"
    whole = weights.read_bytes()
    weights.unlink()
    again = digits.python("-m", "tasks.train.gan")
    assert "resuming from image 16" in again.stdout
    assert weights.read_bytes() == whole


def test_a_second_trainer_waits_and_takes_the_finished_result(digits: Checkout) -> None:
    digits.set_params(train_gan__stop__n_images=640)
    command = [sys.executable, "-m", "tasks.train.gan"]
    start = lambda: subprocess.Popen(command, cwd=digits.path, env=digits.environment(), stdout=subprocess.PIPE)  # noqa: E731
    both = [start(), start()]
    said = [trainer.communicate(timeout=120)[0].decode() for trainer in both]
    assert [trainer.returncode for trainer in both] == [0, 0]
    assert sum("resuming from image 640" in text for text in said) == 1


DIVERGING = {
    "train_vae__optimiser__learning_rate": 1.0,
    "train_vae__optimiser__name": "sgd",
    "train_vae__optimiser__beta2": 0.0,
    "train_vae__stop__n_images": 6400,
    "train_vae__log_every": 64,
}


def test_a_diverging_training_fails_with_a_sentence_and_keeps_its_best(digits: Checkout) -> None:
    digits.set_params(**DIVERGING, train_vae__rollbacks=1)
    said = [digits.python("-m", "tasks.train.vae") for _ in range(2)]  # once more, it does not try for ever
    assert [done.returncode for done in said] == [2, 2]
    assert "; rolled back to image 0, with 0.5 x the learning rates" in said[0].stdout
    (best,) = (digits / ".work/checkpoints/train_vae").glob("*/best.safetensors")
    assert said[0].stderr == said[1].stderr
    assert re.fullmatch(
        r"error: train_vae failed: .* by image [\d,]+, after 1 rollback; lower its learning "
        rf"rate in params\.yaml \(the best weights, after 0 images, are kept in {best}\)\n",
        said[0].stderr,
    )
    assert not (digits / "data/weights/vae").exists()


@pytest.mark.long
def test_a_diverged_training_is_rolled_back_until_it_recovers(digits: Checkout) -> None:
    digits.set_params(**DIVERGING, train_vae__rollbacks=20, train_vae__beta=0.0)
    done = digits.python("-m", "tasks.train.vae")
    assert done.returncode == 0, done.stderr
    assert "by image" in str(receipt(digits, "train_vae")["rolled_back"])
    assert (digits / "data/weights/vae/weights.safetensors").exists()


@pytest.mark.long
def test_only_a_checkpoint_of_the_same_inputs_is_resumed(digits: Checkout, tmp_path: Path) -> None:
    assert digits.python("-m", "tasks.train.gan").returncode == 0
    (checkpoint,) = (digits / ".work/checkpoints/train_gan").glob("*/checkpoint.safetensors")
    kept = tmp_path / "kept.safetensors"
    checkpoint.rename(kept)
    shutil.rmtree(checkpoint.parent)
    again = digits.python("-m", "tasks.train.gan", "--resume", str(kept))
    assert again.returncode == 0
    assert f"resuming from image 16 ({kept})" in again.stdout
    assert (checkpoint.parent / "best.safetensors").exists()
    digits.set_params(train_gan__batch=4)
    refused = digits.python("-m", "tasks.train.gan", "--resume", str(kept))
    assert refused.returncode == 2
    assert refused.stderr == (
        f"error: {kept} is from a training with other inputs: params.train_gan.batch: 8 -> 4; "
        "leave --resume out to train from the start\n"
    )
    missing = digits.python("-m", "tasks.train.gan", "--resume", str(tmp_path / "none"))
    assert missing.returncode == 2
    sentence = f"{tmp_path / 'none'} does not exist; name an existing checkpoint, or leave --resume out"
    assert missing.stderr == f"error: {sentence}\n"


WITH_STEPS_THAT_CANNOT_BE_CAPTURED = """
from dataclasses import replace
import models.training.steps, tasks.common.cli, tasks.common.runtime, tasks.train.gan, tasks.train.vae
choose = tasks.common.runtime.choose_mode
tasks.common.runtime.choose_mode = lambda *asked: replace(choose(*asked), captured=True)

class Refusing:
    def __call__(self, body):
        raise RuntimeError("operation not permitted when stream is capturing")

models.training.steps.CudaGraphs = models.learners.prior.CudaGraphs = Refusing
for stage, main in (("train_gan", tasks.train.gan.main), ("train_vae", tasks.train.vae.main)):
    tasks.common.cli.run_stage(stage, main)
"""


def test_steps_that_are_not_captured_are_told_by_output_receipt_weights_and_report(digits: Checkout) -> None:
    done = digits.python("-c", WITH_STEPS_THAT_CANNOT_BE_CAPTURED)
    assert done.returncode == 0, done.stderr
    sentence = "steps are not captured as CUDA graphs, so they run slower; the first cause: operation not permitted"
    for model in ("gan", "vae"):
        assert f"train_{model}: {sentence}" in done.stdout
        facts = receipt(digits, f"train_{model}")
        assert str(facts["warning"]).startswith(sentence)
        assert "captured" not in str(facts["mode"])
        _, about = load_tensors(digits / f"data/weights/{model}/weights.safetensors")
        assert about["trained_with"]["mode"] == facts["mode"]
    assert digits.python("-m", "tasks.report").returncode == 0
    assert sentence in (digits / "report/index.html").read_text()


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is there")
def test_a_gpu_that_is_not_there_is_said(digits: Checkout) -> None:
    digits.set_params(device="cuda")
    done = digits.python("-m", "tasks.train.gan")
    assert done.returncode == 2
    assert re.fullmatch(r"error: params\.yaml: device is cuda, but .*; set it to auto or cpu\n", done.stderr)


@pytest.mark.parametrize(
    ("micro_batch", "advice"),
    [(0, r"micro_batch to 32,.* or lower"), (8, "micro_batch to 4,"), (1, "params.yaml, lower")],
)
def test_a_lack_of_memory_names_what_to_lower(micro_batch: int, advice: str) -> None:
    settings = load_params().train_gan.model_copy(update={"micro_batch": micro_batch})
    with pytest.raises(UserError, match=rf"train_gan ran out of .*{advice}"), memory_errors("train_gan", settings):
        raise torch.OutOfMemoryError
