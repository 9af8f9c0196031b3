"""Pretrained weights from the user's file: the errors for a file that cannot be used, and that no code in it runs."""

import os
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from models.networks.pretrained import PretrainedName
from models.settings import WeightsFile
from tasks.common.errors import UserError
from tasks.reference.evaluator import load_pretrained
from tests.tasks.reference.blank import dinov2_weights, inception_weights, settings

WHERE = "params.yaml: reference.weights"
EITHER = pytest.mark.parametrize("name", ["inception", "dinov2"])
pytestmark = pytest.mark.usefixtures("no_network")


class Evil:
    """Creates a file when it is unpickled without `weights_only`."""

    def __init__(self, mark: Path) -> None:
        self._mark = mark

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch {self._mark}",)


def refusal(name: PretrainedName, weights: WeightsFile) -> str:
    """Returns the error message, which is one line."""
    with pytest.raises(UserError) as caught:
        load_pretrained(name, weights, WHERE)
    message = str(caught.value)
    assert "\n" not in message
    return message


@EITHER
@pytest.mark.parametrize(("file", "sha256"), [("", ""), ("weights.pth", ""), ("", "0" * 64)])
def test_a_file_and_its_hash_are_required(name: PretrainedName, file: str, sha256: str) -> None:
    message = refusal(name, WeightsFile(file=file, sha256=sha256))
    assert message == f"{WHERE}: {name} needs a file of pretrained weights; set file and that file's sha256"


@EITHER
def test_a_missing_file_is_named_and_not_downloaded(name: PretrainedName, tmp_path: Path) -> None:
    message = refusal(name, WeightsFile(file=str(tmp_path / "none.pth"), sha256="0" * 64))
    assert message.startswith(f"{WHERE}.file is {tmp_path / 'none.pth'}, but there is no such file")
    assert refusal(name, WeightsFile(file=str(tmp_path), sha256="0" * 64)).startswith(f"{WHERE}.file is {tmp_path},")


def test_home_may_be_written_as_a_tilde(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    torch.save({"a": torch.zeros(2)}, tmp_path / "weights.pth")
    sha256 = settings(tmp_path / "weights.pth").sha256
    message = refusal("dinov2", WeightsFile(file="~/weights.pth", sha256=sha256))
    assert message == f"{tmp_path}/weights.pth cannot be used as dinov2: these are not the weights of a DINOv2 network"


@EITHER
def test_another_hash_names_both_and_nothing_is_read(name: PretrainedName, tmp_path: Path) -> None:
    mark, path = tmp_path / "mark", tmp_path / "weights.pth"
    path.write_bytes(pickle.dumps(Evil(mark)))
    message = refusal(name, WeightsFile(file=str(path), sha256="0" * 64))
    assert message.startswith(f"{WHERE}.sha256 is {'0' * 64}, but {path} has {settings(path).sha256}")
    assert not mark.exists()


@EITHER
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_other_tensors_are_refused(name: PretrainedName, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"weights{suffix}"
    (save_file if suffix == ".safetensors" else torch.save)({"layer.weight": torch.zeros(2, 2)}, path)
    assert f"{path} cannot be used as {name}: these are not the weights of" in refusal(name, settings(path))


@EITHER
@pytest.mark.parametrize(
    "content",
    [
        [torch.zeros(2)],
        {"teacher": {"a": torch.zeros(2)}},
        {1: torch.zeros(2)},
        {"epoch": 3},
        torch.zeros(2),
        {"a": None},
    ],
    ids=["list", "nested", "numbered", "number", "tensor", "none"],
)
def test_anything_but_a_state_dict_is_refused(name: PretrainedName, content: object, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "weights.pth")
    assert "it is not a dict of tensors by name" in refusal(name, settings(tmp_path / "weights.pth"))


@EITHER
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("where", ["pickled", "saved", "beside"])
def test_code_in_a_file_is_not_run(name: PretrainedName, where: str, suffix: str, tmp_path: Path) -> None:
    mark, path = tmp_path / "mark", tmp_path / f"weights{suffix}"
    evil = Evil(mark)
    if where == "pickled":
        path.write_bytes(pickle.dumps(evil, protocol=2))
    else:
        tensors = dinov2_weights() if where == "beside" else {}
        torch.save(tensors | {"evil": evil}, path)
    message = refusal(name, settings(path))
    assert message == f"{path} cannot be used as {name}: " + (
        "it is damaged, or holds more than tensors, which could run code and is not loaded"
    )
    assert not mark.exists()


def test_that_code_runs_in_a_plain_unpickler(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Evil(tmp_path / "mark")))
    assert (tmp_path / "mark").exists()


@EITHER
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"version https://git-lfs.github.com/spec/v1\n",
        b"<!DOCTYPE html>\n<title>404</title>",
        b"\x80\x02",
        bytes(64),
    ],
    ids=["empty", "pointer", "page", "cut", "zeros"],
)
def test_a_damaged_file_is_refused(name: PretrainedName, suffix: str, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(content)
    assert f"{path} cannot be used as {name}: it is damaged, or" in refusal(name, settings(path))


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_half_a_file_is_refused(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"weights{suffix}"
    (save_file if suffix == ".safetensors" else torch.save)(dinov2_weights(), path)
    os.truncate(path, path.stat().st_size // 2)
    assert "it is damaged, or" in refusal("dinov2", settings(path))


@EITHER
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_the_right_file_gives_the_network_with_its_weights(name: PretrainedName, suffix: str, tmp_path: Path) -> None:
    weights = inception_weights() if name == "inception" else dinov2_weights()
    path = tmp_path / f"weights{suffix}"
    (save_file if suffix == ".safetensors" else torch.save)(weights, path)
    found = load_pretrained(name, settings(path), WHERE)
    assert found.kind == name
    state = found.network.state_dict()
    assert set(state) == set(weights)
    assert all(torch.equal(state[key], value) for key, value in weights.items())
