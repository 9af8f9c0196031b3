"""What a contract says of its origin: content alone, and nothing of other data than the weights were trained on."""

from pathlib import Path

import pytest

from tasks.errors import UserError
from tasks.files import sha256_file, write_json
from tasks.locked import locked_versions
from tasks.provenance import provenance
from tests.conftest import Checkout

MANIFEST = {"splits": {"train": {"count": 80}, "test": {"count": 9}}, "rejected": {"truncated": 2}}


@pytest.fixture
def trained(checkout: Checkout, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The weights of a checkout in which something was trained."""
    monkeypatch.chdir(checkout.path)
    write_json(checkout / "data/prepared/manifest.json", MANIFEST)
    weights = checkout / "data/weights/gan/weights.safetensors"
    weights.parent.mkdir(parents=True)
    weights.write_bytes(b"weights")
    return weights


def test_it_follows_from_content(trained: Path, checkout: Checkout) -> None:
    about = {"model": "gan", "hashes": {"data": sha256_file(Path("data/prepared/manifest.json"))}}
    told = provenance("export_gan", about, trained)
    assert told["images"] == {"train": 80, "test": 9} and told["quarantined"] == {"truncated": 2}
    assert told["hashes"].keys() == {"data", "weights", "export_code", "export_params"}
    assert told["libraries"]["torch"] == locked_versions()["torch"][0]
    trained.touch()
    assert provenance("export_gan", about, trained) == told
    checkout.set_params(export__opset=21)
    assert provenance("export_gan", about, trained)["hashes"]["export_params"] != told["hashes"]["export_params"]


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
