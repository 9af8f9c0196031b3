"""The evaluator: its features depend on the image alone, and a saved evaluator loads unchanged."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from models.learners.classifier import ClassifierLearner, make_classifier
from models.networks.classifier import Classifier, ClassifierConfig, Kind
from models.networks.pretrained import PretrainedName
from models.pixels import to_model
from models.settings import ClassifierSettings
from models.training.device import Mode
from models.training.random import derive_seed
from tasks.common.errors import UserError
from tasks.common.files import sha256_file
from tasks.common.params import load_params
from tasks.reference import evaluator as evaluator_module
from tasks.reference.evaluator import NETWORK, Evaluator, load_evaluator, load_pretrained
from tests.pretended import There, pretended_gpu
from tests.tasks.reference.blank import dinov2_weights, images, inception_weights, settings

CPU = Mode(torch.device("cpu"), None, torch.channels_last, "a test")
pytestmark = pytest.mark.usefixtures("no_network")
OWN_KINDS: tuple[Kind, ...] = ("classifier", "selfsupervised", "random")


def small_settings(seed: int = 0) -> ClassifierSettings:
    values = load_params().reference.model_dump() | {"channels": 4, "features": 8, "seed": seed}
    return ClassifierSettings.model_validate({name: values[name] for name in ClassifierSettings.model_fields})


def own_evaluator(kind: Kind = "classifier", channels: int = 1, seed: int = 0) -> Evaluator:
    """An evaluator whose batch norms have statistics of images."""
    network = make_classifier(small_settings(seed), kind, channels, 3)
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
            layer.momentum = 1.0  # the first batch counts in full
    network(to_model(torch.from_numpy(images(40, channels))))
    return Evaluator(network)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[PretrainedName, Path]:
    folder = tmp_path_factory.mktemp("weights")
    torch.save(inception_weights(), folder / "inception.pth")
    torch.save(dinov2_weights(), folder / "dinov2.pth")
    return {"inception": folder / "inception.pth", "dinov2": folder / "dinov2.pth"}


@pytest.mark.parametrize("batch", [1, 3, 6, 7, 100])
def test_features_do_not_depend_on_the_batch(batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    evaluator, pixels = own_evaluator(), images(7)
    whole = evaluator.features(pixels)
    monkeypatch.setattr(evaluator_module, "BATCH", batch)
    np.testing.assert_allclose(evaluator.features(pixels), whole, rtol=1e-5, atol=1e-6)
    assert whole.shape == (7, 8)
    assert whole.dtype == np.float32
    assert whole.std(axis=0).max() > 0.01


def test_features_do_not_depend_on_other_images() -> None:
    evaluator, pixels = own_evaluator(), images(7)
    alone = np.concatenate([evaluator.features(image[None]) for image in pixels])
    np.testing.assert_allclose(alone, evaluator.features(pixels), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(evaluator.features(pixels[::-1]), evaluator.features(pixels)[::-1], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ["classifier", "inception"])
def test_an_evaluator_runs_on_its_device(kind: Any, files: dict[PretrainedName, Path], tmp_path: Path) -> None:
    pixels = images(5)
    evaluator = (
        own_evaluator() if kind == "classifier" else Evaluator(load_pretrained(kind, settings(files[kind]), "here"))
    )
    evaluator.save(tmp_path)
    with pretended_gpu() as device:
        on_gpu, _ = load_evaluator(tmp_path, device)
        assert all(isinstance(weight, There) for weight in on_gpu._network.state_dict().values())
        features = on_gpu.features(pixels)
        labels = on_gpu.labels(torch.from_numpy(features).to(device))
    np.testing.assert_allclose(features, evaluator.features(pixels), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(labels, evaluator.labels(features))


@pytest.mark.gpu
def test_features_on_a_gpu_equal_those_on_the_cpu(tmp_path: Path) -> None:
    """TF32 would leave differences of about 1e-3."""
    evaluator, pixels = own_evaluator(), images(200)
    evaluator.save(tmp_path)
    on_gpu, _ = load_evaluator(tmp_path, torch.device("cuda", 0))
    features = evaluator.features(pixels)
    np.testing.assert_allclose(on_gpu.features(pixels), features, rtol=1e-4, atol=1e-4 * np.abs(features).max())
    np.testing.assert_array_equal(on_gpu.labels(features), evaluator.labels(features))


def test_only_a_classifier_gives_labels() -> None:
    features = own_evaluator().features(images(20))
    labels = own_evaluator().labels(features)
    assert labels is not None
    assert labels.shape == (20,)
    assert labels.dtype == np.int64
    assert 0 <= labels.min() <= labels.max() < 3
    assert own_evaluator("selfsupervised").labels(features) is None
    assert own_evaluator("random").labels(features) is None


@pytest.mark.parametrize("kind", OWN_KINDS)
def test_our_own_evaluators_load_unchanged(kind: Kind, tmp_path: Path) -> None:
    evaluator, pixels = own_evaluator(kind, channels=3), images(5, 3)
    evaluator.save(tmp_path)
    loaded, sha256 = load_evaluator(tmp_path)
    assert (loaded.kind, loaded.resizer) == (kind, "none")
    assert sha256 == sha256_file(tmp_path / NETWORK)
    np.testing.assert_array_equal(loaded.features(pixels), evaluator.features(pixels))


def test_a_saved_evaluator_has_the_same_bytes_every_time(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        own_evaluator().save(tmp_path / name)
    assert sha256_file(tmp_path / "a" / NETWORK) == sha256_file(tmp_path / "b" / NETWORK)


@pytest.mark.parametrize(("name", "length"), [("inception", 2048), ("dinov2", 384)])
def test_a_pretrained_evaluator_loads_unchanged(
    name: PretrainedName,
    length: int,
    files: dict[PretrainedName, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    evaluator, pixels = Evaluator(load_pretrained(name, settings(files[name]), "here")), images(3)
    evaluator.save(tmp_path)
    loaded, sha256 = load_evaluator(tmp_path)
    assert (loaded.kind, loaded.resizer) == (name, evaluator.resizer)
    assert sha256 == sha256_file(tmp_path / NETWORK)
    before = evaluator.features(pixels)
    assert before.shape == (3, length)
    assert evaluator.labels(before) is None
    monkeypatch.setattr(evaluator_module, "BATCH", 2)
    after = loaded.features(np.repeat(pixels, 3, axis=1))  # RGB of the same grey, in other batches
    np.testing.assert_allclose(after, before, rtol=1e-4, atol=1e-5 * np.abs(before).max())
    assert np.abs(before - before[0]).max() > 0.01 * np.abs(before).max()


def test_a_missing_and_a_damaged_evaluator_are_errors(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"network\.safetensors is missing; run the stage that makes it"):
        load_evaluator(tmp_path)
    own_evaluator().save(tmp_path)
    data = (tmp_path / NETWORK).read_bytes()
    (tmp_path / NETWORK).write_bytes(data[: len(data) // 2])
    with pytest.raises(UserError, match=r"network\.safetensors is damaged"):
        load_evaluator(tmp_path)


@pytest.mark.parametrize("kind", OWN_KINDS)
def test_weights_have_a_random_stream_per_kind(kind: Kind) -> None:
    """Neither another evaluator nor earlier random numbers change them."""
    torch.manual_seed(123)
    network = make_classifier(small_settings(5), kind, 1, 3)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(5, f"{kind} weights", 0))
        shape = ClassifierConfig(image_channels=1, channels=4, features=8, classes=3, kind=kind)
        expected = Classifier(shape).state_dict()
    assert network.config == shape
    assert all(torch.equal(value, expected[name]) for name, value in network.state_dict().items())


def first_weights(network: nn.Module) -> torch.Tensor:
    return next(network.parameters()).detach()


def test_random_weights_repeat_by_seed_and_differ_by_seed_and_kind() -> None:
    weights = first_weights(make_classifier(small_settings(0), "random", 1, 1))
    torch.rand(5)
    assert torch.equal(weights, first_weights(make_classifier(small_settings(0), "random", 1, 1)))
    assert not torch.equal(weights, first_weights(make_classifier(small_settings(1), "random", 1, 1)))
    assert not torch.equal(weights, first_weights(make_classifier(small_settings(0), "selfsupervised", 1, 1)))
    assert not torch.equal(weights, first_weights(make_classifier(small_settings(0), "classifier", 1, 1)))


def test_new_weights_leave_the_global_random_stream_unchanged() -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    make_classifier(small_settings(), "random", 1, 1)
    assert torch.equal(torch.rand(3), expected)


def test_a_learner_starts_from_the_weights_of_its_kind() -> None:
    classifier = ClassifierLearner(small_settings(), "classifier", 1, 3, CPU)
    rotations = ClassifierLearner(small_settings(), "selfsupervised", 1, 3, CPU)
    for learner, kind, classes in ((classifier, "classifier", 3), (rotations, "selfsupervised", 4)):
        expected = make_classifier(small_settings(), kind, 1, classes)  # type: ignore[arg-type]
        assert torch.equal(first_weights(learner.classifier), first_weights(expected))
    assert (classifier.config.classes, rotations.config.classes) == (3, 4)


def test_classifier_weights_are_those_of_earlier_versions() -> None:
    """A change of these numbers changes every evaluator, and metrics before and after it cannot be compared."""
    weights = first_weights(make_classifier(small_settings(0), "classifier", 1, 3)).flatten()[:3]
    torch.testing.assert_close(weights, torch.tensor([-0.24043524, 0.00350503, -0.17747764]), rtol=1e-5, atol=1e-6)
