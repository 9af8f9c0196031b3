"""What kind of change a bundle is to whoever uses the one before it."""

from pathlib import Path

from flows.release.commits import change
from tasks.common.files import write_json

CONTRACT = {"inputs": [{"name": "noise", "shape": ["N", 4]}], "outputs": [], "labels": [], "range": [0, 1]}


def bundle(folder: Path, weights: str, **more: object) -> Path:
    folder.mkdir()
    (folder / "gan.onnx").write_text(weights)
    write_json(folder / "contract.json", {"models": {"gan.onnx": CONTRACT | more}})
    return folder


def test_the_new_name_of_a_key_in_the_contract_changes_nothing_for_a_consumer(tmp_path: Path) -> None:
    earlier = bundle(tmp_path / "earlier", "a", format=1, noise_law="standard normal")
    now = bundle(tmp_path / "now", "b", format=2, noise_distribution="standard normal")
    assert change(now, earlier) == "minor"
    other = bundle(tmp_path / "other", "b", format=2, noise_distribution="uniform")
    assert change(other, earlier) == "major"
