"""What a contract says of its origin: content alone, and nothing of other data than the weights were trained on."""

import json
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from onnx import TensorProto, helper

from tasks.bundle.folder import locked_versions
from tasks.common.errors import UserError
from tasks.common.files import sha256_file, write_json
from tasks.export.checks import CONTRACT
from tasks.export.provenance import provenance, trained_with_text
from tasks.release.lineage.reading import contract_lines, contract_of
from tests.conftest import Checkout

MANIFEST = {"splits": {"train": {"count": 80}, "test": {"count": 9}}, "rejected": {"truncated": 2}}
TRAINED_WITH = {
    "libraries": {"torch": "2.11.0", "numpy": "2.4.6"},
    "mode": "cpu/bfloat16/channels_last",
    "device": "cpu AVX512",
    "threads": 2,
}


@pytest.fixture
def trained(checkout: Checkout, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The weights of a checkout in which something was trained."""
    monkeypatch.chdir(checkout.path)
    write_json(checkout / "data/prepared/manifest.json", MANIFEST)
    weights = checkout / "data/weights/gan/weights.safetensors"
    weights.parent.mkdir(parents=True)
    weights.write_bytes(b"weights")
    return weights


def header(**more: object) -> dict[str, Any]:
    """A weights file's header that fits the data."""
    return {"model": "gan", "hashes": {"data": sha256_file(Path("data/prepared/manifest.json"))}, **more}


def test_it_follows_from_content(trained: Path, checkout: Checkout) -> None:
    told = provenance("export_gan", header(), trained)
    assert told["images"] == {"train": 80, "test": 9} and told["quarantined"] == {"truncated": 2}
    assert told["hashes"].keys() == {"data", "weights", "export_code", "export_params"}
    trained.touch()
    assert provenance("export_gan", header(), trained) == told
    checkout.set_params(export__opset=21)
    assert provenance("export_gan", header(), trained)["hashes"]["export_params"] != told["hashes"]["export_params"]


def test_old_weights_do_not_claim_the_libraries_of_today(trained: Path) -> None:
    """The weights quote what trained them as it stands there; the export names what is installed, not the lock."""
    Path("requirements.lock").write_text("torch==99.0\n")
    told = provenance("export_gan", header(trained_with=TRAINED_WITH), trained)
    assert told["trained_with"] == TRAINED_WITH
    assert told["libraries"]["torch"] == torch.__version__.partition("+")[0]
    assert "onnx" in told["libraries"] and len({"onnxruntime", "onnxruntime-gpu"} & told["libraries"].keys()) == 1


def test_weights_of_earlier_code_say_that_nothing_was_recorded(trained: Path) -> None:
    told = provenance("export_gan", header(), trained)
    assert told["trained_with"] is None
    assert trained_with_text(None) == "not recorded, since earlier code trained the weights"


def contract(**more: object) -> dict[str, Any]:
    """A contract of a tiny generator, as earlier code wrote it."""
    made: dict[str, Any] = {"format": 1, "model": "gan", "file": "gan.onnx", "hashes": {"data": "a" * 64}}
    return made | {"images": {"train": 80}, "quarantined": {}, "libraries": {"torch": "2.14.1"}, **more}


def write_onnx(path: Path, about: dict[str, Any]) -> Path:
    """A tiny ONNX file that carries this contract."""
    one = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N"])
    two = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N"])
    model = helper.make_model(helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "tiny", [one], [two]))
    helper.set_model_props(model, {CONTRACT: json.dumps(about)})
    onnx.save(model, path)
    return path


def test_lineage_tells_what_trained_and_what_exported(tmp_path: Path) -> None:
    now = contract_of(write_onnx(tmp_path / "now.onnx", contract(trained_with=TRAINED_WITH)))
    assert dict(contract_lines(now))["trained with"] == (
        "numpy 2.4.6, torch 2.11.0 on cpu AVX512 (cpu/bfloat16/channels_last, 2 threads)"
    )
    assert dict(contract_lines(now))["exported with"] == "torch 2.14.1"
    earlier = contract_of(write_onnx(tmp_path / "earlier.onnx", contract()))
    assert dict(contract_lines(earlier))["trained with"].startswith("not recorded")


@pytest.mark.parametrize("damaged", ["torch", {"libraries": {}}, {**TRAINED_WITH, "threads": "two"}])
def test_a_damaged_record_of_the_training_is_one_sentence(tmp_path: Path, damaged: object) -> None:
    with pytest.raises(UserError, match="was made by another version, or is damaged"):
        contract_of(write_onnx(tmp_path / "gan.onnx", contract(trained_with=damaged)))


def test_weights_of_other_images_are_refused(trained: Path) -> None:
    with pytest.raises(UserError, match="was trained on other images than"):
        provenance("export_gan", {"hashes": {"data": "0" * 64}}, trained)


def test_two_pythons_may_have_two_versions(tmp_path: Path) -> None:
    lock = tmp_path / "requirements.lock"
    lock.write_text(
        "a==1 ; python_full_version < '3.12' \\\n    --hash=sha256:0\na==2 ; python_full_version >= '3.12'\nB-c==3\n"
    )
    assert locked_versions(lock) == {"a": ["1", "2"], "b-c": ["3"]}
    with pytest.raises(UserError, match="git checkout"):
        locked_versions(tmp_path / "no.lock")
