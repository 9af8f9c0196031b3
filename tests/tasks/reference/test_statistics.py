"""The reference statistics that a stage writes: which data set they belong to, and their protocol."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tasks.common.errors import UserError
from tasks.common.files import read_json, sha256_file, write_json
from tasks.common.params import EvaluateSettings, load_params
from tasks.common.tensors import load_tensors, save_tensors
from tasks.evaluate.results import compute_results
from tasks.evaluate.scores import rarest_label
from tasks.preprocess.dataset import PREPARED, Prepared, open_prepared
from tasks.reference.evaluator import NETWORK, load_evaluator
from tasks.reference.protocol import REFERENCE, Protocol
from tasks.reference.statistics import load_statistics
from tests.conftest import Checkout, make_checkout
from tests.pretended import pretended_gpu
from tests.tasks.noise_folders import draw, prepare

FEATURES = "features.safetensors"
SMALL = {
    "threads": 1,
    "preprocess__min_images": 20,
    "reference__channels": 4,
    "reference__features": 16,
    "reference__batch": 8,
    "reference__stop__n_images": 16,
}
PROTOCOL = Protocol(
    network="classifier", weights="a", resizer="none", reference="b", n_images=10, n_test=9, n_neighbour_scores=9,
    neighbours=5, subsets=10, subset_size=4, seed=0,
)  # fmt: skip


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A checkout whose stage `reference` has run on 120 images of noise in two classes."""
    checkout = make_checkout(tmp_path_factory.mktemp("statistics") / "project")
    checkout.set_params(**SMALL)
    for first, name in ((0, "bag"), (100, "coat")):
        draw(checkout / "data/raw" / name, 60, first)
    again(checkout)
    done = checkout.python("-m", "tasks.reference")
    assert done.returncode == 0, done.stderr
    return checkout


@pytest.fixture(autouse=True)
def _there(project: Checkout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project.path)


@pytest.fixture
def settings() -> EvaluateSettings:
    return load_params().evaluate.model_copy(update={"n_images": 20, "subsets": 5})


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of data/reference to damage."""
    return Path(shutil.copytree(REFERENCE, tmp_path / "reference"))


def again(checkout: Checkout) -> Prepared:
    """Preprocesses data/raw as it is now."""
    return prepare(checkout / "data/raw", checkout.path / PREPARED)


def test_statistics_of_the_same_images_are_loaded(project: Checkout, settings: EvaluateSettings) -> None:
    reference = load_statistics(REFERENCE, settings, open_prepared().hash)
    assert load_statistics(REFERENCE, settings, again(project).hash).protocol == reference.protocol
    assert load_statistics(REFERENCE, settings).protocol == reference.protocol  # where no data is at hand


def test_results_on_a_pretended_gpu_equal_those_on_the_cpu(settings: EvaluateSettings) -> None:
    """The results include intervals, the floor and the rarest label, from the statistics of the stage."""

    def results(device: torch.device) -> tuple[dict[str, object], object]:
        reference = load_statistics(REFERENCE, settings, device=device)
        features = reference.evaluator.features(open_prepared().split("train").gather(np.arange(20)))
        record = compute_results(reference, features, settings).record()
        return record, rarest_label(reference.evaluator, features, reference.real)

    with pretended_gpu() as device:
        on_gpu = results(device)
    assert on_gpu == results(torch.device("cpu"))


def test_one_changed_pixel_makes_another_data_set(project: Checkout, settings: EvaluateSettings) -> None:
    before, path = open_prepared().hash, project / "data/raw/coat/0130.png"
    pixels = np.array(Image.open(path))
    changed = pixels.copy()
    changed[13, 7] ^= 1
    Image.fromarray(changed).save(path)
    try:
        prepared = again(project)
        assert prepared.hash != before
        with pytest.raises(UserError) as caught:
            load_statistics(REFERENCE, settings, prepared.hash)
        assert str(caught.value) == (
            "data/reference was made from other images than data/prepared holds now; run its stage again"
        )
    finally:
        Image.fromarray(pixels).save(path)
    assert load_statistics(REFERENCE, settings, again(project).hash).protocol.network == "classifier"


def test_a_moved_label_makes_another_data_set(project: Checkout, settings: EvaluateSettings) -> None:
    """The same images with another label are another data set."""
    path = project / "data/raw/coat/0130.png"
    path.rename(project / "data/raw/bag/0130.png")
    try:
        with pytest.raises(UserError, match="made from other images"):
            load_statistics(REFERENCE, settings, again(project).hash)
    finally:
        (project / "data/raw/bag/0130.png").rename(path)
        again(project)


def test_the_statistics_are_the_evaluators_features_of_the_images(settings: EvaluateSettings) -> None:
    reference, prepared = load_statistics(REFERENCE, settings), open_prepared()
    (test,), (train,) = prepared.split("test").blocks(1000), prepared.split("train").blocks(1000)
    np.testing.assert_allclose(reference.real.test, reference.evaluator.features(test), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(reference.real.train, reference.evaluator.features(train), rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(reference.real.test_labels, prepared.split("test").labels)
    np.testing.assert_allclose(reference.real.train_moments.mean, train_mean(reference.real.train.numpy()), rtol=1e-4)
    assert reference.real.train_moments.count == len(train)
    assert reference.trusted == read_json(REFERENCE / "evaluator.json")["trusted"]


def train_mean(features: np.ndarray) -> np.ndarray:
    return np.asarray(features.mean(axis=0, dtype=np.float64))


def test_the_protocol_has_the_hashes_and_the_numbers_that_fit_the_data(settings: EvaluateSettings) -> None:
    protocol, count = load_statistics(REFERENCE, settings).protocol, len(open_prepared().split("test"))
    assert protocol.weights == sha256_file(REFERENCE / NETWORK) == load_evaluator(REFERENCE)[1]
    assert protocol.reference == sha256_file(REFERENCE / FEATURES)
    assert (protocol.network, protocol.resizer) == ("classifier", "none")
    assert (protocol.n_images, protocol.n_test, protocol.seed) == (20, count, settings.seed)
    used = min(20, count)
    assert (protocol.n_neighbour_scores, protocol.neighbours) == (used, 5)
    assert (protocol.subsets, protocol.subset_size) == (5, used // 2)
    few = load_statistics(REFERENCE, settings.model_copy(update={"neighbours": 1000, "subset_size": 3})).protocol
    assert (few.neighbours, few.subset_size) == (used - 1, 3)


def test_equal_protocols_pass() -> None:
    PROTOCOL.require(PROTOCOL.model_copy())


@pytest.mark.parametrize("key", Protocol.model_fields)
def test_a_difference_in_any_key_of_a_protocol_is_reported(key: str) -> None:
    value = getattr(PROTOCOL, key)
    other = value + 1 if isinstance(value, int) else f"{value}x"
    with pytest.raises(UserError) as caught:
        PROTOCOL.require(PROTOCOL.model_copy(update={key: other}))
    assert str(caught.value) == (
        f"metrics of different protocols cannot be compared: {key} {value} and {other}; evaluate both again"
    )


def test_all_differences_are_reported_at_once() -> None:
    with pytest.raises(UserError, match=r"compared: network classifier and random, seed 0 and 3; evaluate both again"):
        PROTOCOL.require(PROTOCOL.model_copy(update={"network": "random", "seed": 3}))


@pytest.mark.parametrize("file", [FEATURES, NETWORK, "evaluator.json"])
def test_a_missing_file_says_what_to_do(file: str, copy: Path, settings: EvaluateSettings) -> None:
    (copy / file).unlink()
    with pytest.raises(UserError, match=f"{file} is missing; run the stage that makes it") as caught:
        load_statistics(copy, settings)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("file", [FEATURES, NETWORK, "evaluator.json"])
@pytest.mark.parametrize("left", [0.0, 0.5, 0.99])
def test_a_file_that_is_cut_short_says_so(file: str, left: float, copy: Path, settings: EvaluateSettings) -> None:
    data = (copy / file).read_bytes()
    (copy / file).write_bytes(data[: int(left * len(data))])
    with pytest.raises(UserError, match=f"{file} is damaged") as caught:
        load_statistics(copy, settings)
    assert "\n" not in str(caught.value)
    assert "delete it and run" in str(caught.value)


def with_one_image(copy: Path) -> None:
    tensors, about = load_tensors(copy / FEATURES)
    save_tensors(copy / FEATURES, tensors | {"test": torch.zeros(1, 16)}, about)


def without_features(copy: Path) -> None:
    tensors, about = load_tensors(copy / FEATURES)
    del tensors["train_covariance"]
    save_tensors(copy / FEATURES, tensors, about)


def without_its_data(copy: Path) -> None:
    save_tensors(copy / FEATURES, load_tensors(copy / FEATURES)[0], {})


def without_a_check(copy: Path) -> None:
    write_json(copy / "evaluator.json", {})


def without_a_kind(copy: Path) -> None:
    save_tensors(copy / NETWORK, load_tensors(copy / NETWORK)[0], {})


def with_a_value_that_is_none(copy: Path) -> None:
    tensors, about = load_tensors(copy / FEATURES)
    tensors["test"][3, 2] = float("nan")
    save_tensors(copy / FEATURES, tensors, about)


@pytest.mark.parametrize(
    "damage",
    [
        with_one_image,
        without_features,
        without_its_data,
        without_a_check,
        without_a_kind,
        with_a_value_that_is_none,
    ],
)
def test_damaged_files_are_refused(damage, copy: Path, settings: EvaluateSettings) -> None:  # type: ignore[no-untyped-def]
    damage(copy)
    with pytest.raises(UserError):
        load_statistics(copy, settings, open_prepared().hash)
