"""The progress files of a training: metrics and a preview, which do not change the training's bits."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from models.learners.gan import GanLearner
from models.training.device import choose_mode
from models.training.state import network_tensors
from tasks.common.params import load_params
from tasks.train.previews import preview_gan
from tests.conftest import Checkout, make_checkout
from tests.tasks.train.test_train import SMALL

PREVIEW_AT_EVERY_STEP = """
import importlib, sys
import tasks.common.cli, tasks.common.params, tasks.train.previews
tasks.common.cli.SECONDS_BETWEEN_FILES = 0
tasks.train.previews.FIRST_SECONDS = tasks.train.previews.SECONDS_BETWEEN = tasks.train.previews.TIMES_ITS_COST = 0
made = []
make = tasks.train.previews._png
tasks.train.previews._png = lambda *what: made.append(what) or make(*what)
importlib.import_module(f"tasks.train.{sys.argv.pop()}").main(tasks.common.params.load_params())
print(f"{len(made)} pictures")
"""

METRICS = {"gan": ["loss_d", "loss_g"], "vae": ["nll"]}


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A checkout with prepared digits and small settings."""
    checkout = make_checkout(tmp_path_factory.mktemp("progress") / "project")
    changes = {"train_gan__conditional": "on", "train_vae__conditional": "on", "train_gan__log_every": 8}
    checkout.set_params(**SMALL | changes, train_vae__log_every=8)
    for command in (["tasks.ingest", "digits"], ["tasks.preprocess"]):
        done = checkout.python("-m", *command)
        assert done.returncode == 0, done.stderr
    return checkout


def weights(checkout: Checkout, model: str, folder: Path | None) -> tuple[bytes, str]:
    """Trains a model from scratch; returns its weights file and its output."""
    for old in (checkout / ".work/checkpoints").glob("*/*/*"):
        old.unlink()
    env = {"IMAGEWRIGHT_PROGRESS": str(folder)} if folder else {}
    done = checkout.python("-c", PREVIEW_AT_EVERY_STEP, model, env=env)
    assert done.returncode == 0, done.stderr
    return (checkout / f"data/weights/{model}/weights.safetensors").read_bytes(), done.stdout


@pytest.fixture(scope="module")
def without_files(digits: Checkout) -> dict[str, tuple[bytes, str]]:
    """The weights and the output of trainings without a progress folder."""
    return {model: weights(digits, model, None) for model in METRICS}


@pytest.mark.parametrize(("model", "caption"), [("gan", "from the same noise"), ("vae", "its reconstruction")])
def test_progress_files_do_not_change_a_trainings_bits(
    digits: Checkout, without_files: dict[str, tuple[bytes, str]], tmp_path: Path, model: str, caption: str
) -> None:
    expected, output = without_files[model]
    assert "0 pictures" in output
    found, output = weights(digits, model, tmp_path / "progress")
    assert "3 pictures" in output, "two steps and the end"
    assert found == expected
    with Image.open(tmp_path / "progress/picture.png") as picture:
        assert caption in picture.info["Description"]
        assert max(picture.size) <= 512 + 6 * 2
    state = json.loads((tmp_path / "progress/progress.json").read_text())
    assert state["ended"] is True
    assert state["done"] == state["total"] > 0
    assert set(METRICS[model]) <= state["metrics"].keys()
    assert sorted(path.name for path in (tmp_path / "progress").iterdir()) == ["picture.png", "progress.json"]


def test_a_folder_that_cannot_be_written_costs_one_line_and_not_the_training(
    digits: Checkout, without_files: dict[str, tuple[bytes, str]], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    found, output = weights(digits, "gan", tmp_path / "file/progress")
    assert output.count("progress is not shown, since") == 1
    assert found == without_files["gan"][0]


@pytest.mark.parametrize(("size", "count"), [(28, 36), (128, 16), (256, 4)])
def test_a_generators_preview_repeats_and_uses_no_random_number(size: int, count: int) -> None:
    learner = GanLearner(load_params().train_gan.model_copy(update={"channels": 4}), size, 3, choose_mode("cpu"), 10)
    with torch.no_grad():
        for weight in learner.ema.network.parameters():
            weight.mul_(10)  # with the initial weights everything is grey
    state = {name: value.clone() for name, value in network_tensors(learner.networks).items()}
    before = torch.get_rng_state()
    images, _ = preview_gan(learner)
    assert images.shape == (count, 3, size, size)
    assert len(np.unique(images, axis=0)) == count
    np.testing.assert_array_equal(images, preview_gan(learner)[0])
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(value, state[name]) for name, value in network_tensors(learner.networks).items())
