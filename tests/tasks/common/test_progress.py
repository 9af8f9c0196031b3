"""What a stage leaves for whoever watches: figures and a picture that follow the training and leave its bits alone."""

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
drawn = []
draw = tasks.train.previews._png
tasks.train.previews._png = lambda *what: drawn.append(what) or draw(*what)
importlib.import_module(f"tasks.train.{sys.argv.pop()}").main(tasks.common.params.load_params())
print(f"{len(drawn)} pictures")
"""

METRICS = {"gan": ["loss_d", "loss_g"], "vae": ["nll"]}


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A checkout with prepared digits and small settings."""
    checkout = make_checkout(tmp_path_factory.mktemp("live") / "project")
    told = {"train_gan__conditional": "on", "train_vae__conditional": "on", "train_gan__log_every": 8}
    checkout.set_params(**SMALL | told, train_vae__log_every=8)
    for command in (["tasks.ingest", "digits"], ["tasks.preprocess"]):
        done = checkout.python("-m", *command)
        assert done.returncode == 0, done.stderr
    return checkout


def weights(checkout: Checkout, model: str, folder: Path | None) -> tuple[bytes, str]:
    """Trains a model from nothing; returns its weights and what was said."""
    for old in (checkout / ".work/checkpoints").glob("*/*/*"):
        old.unlink()
    env = {"IMAGEWRIGHT_PROGRESS": str(folder)} if folder else {}
    done = checkout.python("-c", PREVIEW_AT_EVERY_STEP, model, env=env)
    assert done.returncode == 0, done.stderr
    return (checkout / f"data/weights/{model}/weights.safetensors").read_bytes(), done.stdout


@pytest.fixture(scope="module")
def alone(digits: Checkout) -> dict[str, tuple[bytes, str]]:
    """What trainings give that nobody watches."""
    return {model: weights(digits, model, None) for model in METRICS}


@pytest.mark.parametrize(("model", "caption"), [("gan", "drawn from the same noise"), ("vae", "its reconstruction")])
def test_a_training_that_is_watched_ends_with_the_same_bits(
    digits: Checkout, alone: dict[str, tuple[bytes, str]], tmp_path: Path, model: str, caption: str
) -> None:
    unwatched, said = alone[model]
    assert "0 pictures" in said
    watched, said = weights(digits, model, tmp_path / "live")
    assert "3 pictures" in said, "two steps and the end"
    assert watched == unwatched
    with Image.open(tmp_path / "live/picture.png") as picture:
        assert caption in picture.info["Description"]
        assert max(picture.size) <= 512 + 6 * 2
    state = json.loads((tmp_path / "live/progress.json").read_text())
    assert state["ended"] is True
    assert state["done"] == state["total"] > 0
    assert set(METRICS[model]) <= state["figures"].keys()
    assert sorted(path.name for path in (tmp_path / "live").iterdir()) == ["picture.png", "progress.json"]


def test_where_nothing_can_be_left_one_line_says_so_and_the_training_goes_on(
    digits: Checkout, alone: dict[str, tuple[bytes, str]], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    watched, said = weights(digits, "gan", tmp_path / "file/live")
    assert said.count("progress is not shown, since") == 1
    assert watched == alone["gan"][0]


@pytest.mark.parametrize(("size", "count"), [(28, 36), (128, 16), (256, 4)])
def test_a_generators_picture_is_the_same_each_time_and_takes_no_random_number(size: int, count: int) -> None:
    learner = GanLearner(load_params().train_gan.model_copy(update={"channels": 4}), size, 3, choose_mode("cpu"), 10)
    with torch.no_grad():
        for weight in learner.ema.network.parameters():
            weight.mul_(10)  # as they are drawn, everything is grey
    state = {name: value.clone() for name, value in network_tensors(learner.networks).items()}
    before = torch.get_rng_state()
    images, _ = preview_gan(learner)
    assert images.shape == (count, 3, size, size)
    assert len(np.unique(images, axis=0)) == count
    np.testing.assert_array_equal(images, preview_gan(learner)[0])
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(value, state[name]) for name, value in network_tensors(learner.networks).items())
