"""params.yaml and the presets: messages name every wrong key, and presets change only the keys that they set."""

from pathlib import Path

import pytest
from ruamel.yaml import YAML

from tasks.common.presets import flatten
from tests.conftest import ROOT, Checkout

PRESETS = sorted(path.stem for path in (ROOT / "presets").glob("*.yaml"))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"train_gan__chanels": 3}, "unknown parameter `train_gan.chanels`"),
        ({"train_gan__batch": "64"}, "`train_gan.batch` is '64': input should be a valid integer"),
        ({"preprocess__size": 48}, "`preprocess.size` is 48: input should be 28, 32, 64, 128 or 256"),
        ({"preprocess__max_rejected": 2}, "`preprocess.max_rejected` is 2: input should be less than or equal to 1"),
        ({"train_gan__r1": 1.0}, "discriminator_norm must be spectral or none"),
    ],
)
def test_a_bad_parameter_is_named(checkout: Checkout, change: dict[str, object], sentence: str) -> None:
    checkout.set_params(**change)
    done = checkout.python("-m", "tasks.preprocess")
    assert done.returncode == 2
    assert done.stderr.startswith("error: params.yaml: ")
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    assert not (checkout / "data/prepared").exists()


@pytest.mark.parametrize(
    ("old", "new"), [("gate.draws", "bootstrap_samples"), ("train_vae.optimiser.constant_for", "decay_start")]
)
def test_a_renamed_parameter_is_answered_with_its_new_name(checkout: Checkout, old: str, new: str) -> None:
    checkout.set_params(**{old.replace(".", "__"): 100})
    assert f"`{old}` is now called `{new}`" in checkout.python("-m", "tasks.preprocess").stderr


def test_a_missing_parameter_is_named(checkout: Checkout) -> None:
    text = (checkout / "params.yaml").read_text()
    (checkout / "params.yaml").write_text(text.replace("threads: 2", "# threads: 2"))
    assert "parameter `threads` is missing" in checkout.python("-m", "tasks.preprocess").stderr


def test_invalid_yaml_is_rejected(checkout: Checkout) -> None:
    (checkout / "params.yaml").write_text("threads: [2\n")
    assert "params.yaml is not valid YAML" in checkout.python("-m", "tasks.preprocess").stderr


def test_an_unknown_preset_is_rejected_with_a_list_of_presets(checkout: Checkout) -> None:
    before = (checkout / "params.yaml").read_text()
    done = checkout.python("-m", "tasks.common.presets", "quik")
    assert done.returncode == 2
    assert done.stderr == "error: there is no preset `quik`; choose one of classic, full, quick\n"
    assert (checkout / "params.yaml").read_text() == before


def read(path: Path) -> dict[str, object]:
    return dict(flatten(YAML(typ="safe").load(path.read_text())))


def test_params_yaml_has_the_values_of_quick_and_presets_set_the_same_keys() -> None:
    committed, quick = read(ROOT / "params.yaml"), read(ROOT / "presets/quick.yaml")
    assert {key: committed[key] for key in quick} == quick
    assert all(read(ROOT / f"presets/{name}.yaml").keys() == quick.keys() for name in PRESETS)


def test_the_classic_preset_has_textbook_values() -> None:
    classic = read(ROOT / "presets/classic.yaml")
    assert classic["train_gan.loss"] == "non_saturating"
    assert [classic[f"train_gan.generator.{key}"] for key in ("name", "learning_rate", "beta1", "beta2")] == [
        "adam",
        0.0002,
        0.5,
        0.999,
    ]
    assert [classic[f"train_vae.{key}"] for key in ("latent", "reconstruction", "prior")] == [
        20,
        "summed_mse",
        "standard",
    ]


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_keeps_comments_and_quick_restores_the_file(checkout: Checkout, name: str) -> None:
    before = (checkout / "params.yaml").read_text()
    done = checkout.python("-m", "tasks.common.presets", name)
    assert done.returncode == 0, done.stderr
    after = read(checkout / "params.yaml")
    assert all(after[key] == value for key, value in read(checkout / f"presets/{name}.yaml").items())
    assert "# share of the images held out, chosen by content hash" in (checkout / "params.yaml").read_text()
    checkout.python("-m", "tasks.common.presets", "quick")
    assert (checkout / "params.yaml").read_text() == before


def test_values_set_by_hand_are_overwritten_only_with_force(checkout: Checkout) -> None:
    checkout.set_params(train_vae__latent=7)
    done = checkout.python("-m", "tasks.common.presets", "classic")
    assert done.returncode == 2
    assert "train_vae.latent (7)" in done.stderr
    assert read(checkout / "params.yaml")["train_vae.latent"] == 7
    assert checkout.python("-m", "tasks.common.presets", "classic", "--force").returncode == 0
    assert read(checkout / "params.yaml")["train_vae.latent"] == 20
