"""The form: its limits are those of params.yaml, it refuses unknown keys, and its values reach params.yaml."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from prefect import Flow
from prefect.utilities.callables import parameter_schema
from pydantic import ValidationError
from ruamel.yaml import YAML

from flows.deprecate import deprecate
from flows.gate_and_release import gate_and_release
from flows.retrain import retrain
from flows.rollback import rollback
from flows.ui.form import COMMITTED, FORM_PARAMETERS, Overrides, check_overrides, selected, write_params
from tasks.common.errors import UserError
from tasks.common.params import Params
from tests.flows.conftest import ROOT


@pytest.fixture
def root(tmp_path: Path) -> Path:
    shutil.copy(ROOT / "params.yaml", tmp_path)
    shutil.copytree(ROOT / "presets", tmp_path / "presets")
    return tmp_path


def read(root: Path) -> dict[str, Any]:
    values: dict[str, Any] = YAML(typ="safe").load(root / "params.yaml")
    return values


def value_at(tree: Any, key: str) -> Any:
    for part in key.split("."):
        tree = tree[part]
    return tree


def test_each_field_has_the_type_limits_and_description_of_its_parameter() -> None:
    def leaf(schema: dict[str, Any], key: str) -> dict[str, Any]:
        found = schema
        for part in key.split("."):
            while "$ref" in found:
                found = schema["$defs"][found["$ref"].rpartition("/")[2]]
            found = found["properties"][part]
        return found

    form, params = Overrides.model_json_schema(), Params.model_json_schema()
    for key in FORM_PARAMETERS:
        field, parameter = leaf(form, key), leaf(params, key)
        assert field.pop("title") == key.rpartition(".")[2]
        assert field == {name: part for name, part in parameter.items() if name != "title"} and "type" in field


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"train_gan": {"batch": 0}}, "`train_gan.batch` is 0: input should be greater than or equal to 1"),
        ({"train_gan": {"epochs": 3}}, "unknown parameter `train_gan.epochs`"),
        ({"gan": {}}, "unknown parameter `gan`"),
        ({"preprocess": {"size": 31}}, "`preprocess.size` is 31"),
    ],
)
def test_the_form_refuses_what_a_stage_would_refuse(values: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError):
        Overrides.model_validate(values)
    with pytest.raises(UserError) as caught:
        check_overrides(values)
    assert words in str(caught.value)


def test_writes_preset_and_overrides_and_nothing_else(root: Path) -> None:
    before = read(root)
    assert write_params(root, COMMITTED, Overrides()) == []
    assert read(root) == before
    changes = write_params(root, "classic", check_overrides({"train_vae": {"beta": 0.25, "stop": {"n_images": 640}}}))
    after, classic = read(root), YAML(typ="safe").load(root / "presets/classic.yaml")
    assert value_at(after, "train_vae.beta") == 0.25 and value_at(after, "train_vae.stop.n_images") == 640
    assert after["train_gan"].items() >= {k: v for k, v in classic["train_gan"].items() if k != "stop"}.items()
    assert "train_vae.beta: 1.0 -> 0.25" in changes
    assert after["evaluate"] == before["evaluate"]
    assert "# grey or rgb" in (root / "params.yaml").read_text(), "comments stay"


def test_an_unknown_preset_is_refused_with_the_known_ones(root: Path) -> None:
    with pytest.raises(UserError, match="no preset `quik`; choose one of as committed, classic, full, quick"):
        write_params(root, "quik", Overrides())


def test_values_that_do_not_go_together_leave_the_file_alone(root: Path) -> None:
    before = (root / "params.yaml").read_bytes()
    (root / "presets/odd.yaml").write_text("train_gan: {r1: 1.0}\n")
    with pytest.raises(UserError, match="discriminator_norm must be spectral or none"):
        write_params(root, "odd", Overrides())
    assert (root / "params.yaml").read_bytes() == before


def test_an_error_in_the_committed_file_is_named(root: Path) -> None:
    text = (root / "params.yaml").read_text().replace("  batch: 64\n", "  batch: many\n")
    (root / "params.yaml").write_text(text)
    with pytest.raises(UserError, match=r"`train_gan\.batch` is 'many'"):
        write_params(root, COMMITTED, Overrides())
    (root / "params.yaml").write_text("[]")
    with pytest.raises(UserError, match=r"params\.yaml"):
        write_params(root, COMMITTED, Overrides())


def test_a_choice_of_models() -> None:
    assert selected("all") == ("gan", "vae") and selected("vae") == ("vae",)


@pytest.mark.parametrize("flow", [retrain, gate_and_release, rollback, deprecate])
def test_the_form_of_a_flow_describes_every_field(flow: Flow[..., Any]) -> None:
    fields = parameter_schema(flow).properties
    assert fields and all(field.get("description") for field in fields.values())
    assert flow.description and flow.description.startswith(str(flow.fn.__doc__).partition("\n")[0])
