"""The flow `retrain` with the project's own gate: real bundles, ONNX Runtime, git, DVC and Prefect."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import onnx
import pytest
from onnx import numpy_helper

from tasks.bundle.folder import write_bundle
from tasks.common.files import md5_file
from tasks.common.paths import work_folder
from tests.flows.released import ReleaseRepository, open_release_repository, retrain
from tests.tasks.bundle.exported import SETTINGS, THREADS, fill
from tests.tasks.gate.test_gate import rebuilt, small_params, write_reference

pytestmark = [pytest.mark.usefixtures("server"), pytest.mark.filterwarnings("ignore::DeprecationWarning")]

# The stage copies the bundle that was made for its seed.
MAKE = """
import pathlib, shutil, sys
import ruamel.yaml
seed = ruamel.yaml.YAML(typ="safe").load(open("params.yaml"))["train_gan"]["seed"]
shutil.copytree(f"made/{seed}", f"data/bundle/{sys.argv[1]}")
pathlib.Path("data/metrics").mkdir(exist_ok=True)
pathlib.Path("data/metrics", sys.argv[1] + ".json").write_text("{}")
"""


def weaken(model: onnx.ModelProto) -> None:
    """Makes the images greyer, with less contrast."""
    weights = next(tensor for tensor in model.graph.initializer if tensor.name == "w0")
    weights.CopyFrom(numpy_helper.from_array(0.3 * numpy_helper.to_array(weights), "w0"))


@pytest.fixture
def repo(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ReleaseRepository]:
    """A repository with the real gate; its GAN of seed 0 is as good as real images, and worse with other seeds."""
    project = tmp_path / "project"
    (project / "data").mkdir(parents=True)
    monkeypatch.chdir(project)
    fill(project)
    small_params(project)
    write_bundle("gan", SETTINGS, THREADS)
    shutil.copytree("data/bundle/gan", "live")
    write_reference(project)
    place = open_release_repository(Path(shutil.copytree(template, tmp_path / "repository")))
    shutil.rmtree(place / "tasks/gate")
    (place / "make.py").write_text(MAKE)
    weak = rebuilt(project, "weak", weaken)
    for name, source in (("made/0", "live"), ("made/1", weak), ("made/2", weak)):
        shutil.copytree(source, place / name)
    for name in ("params.yaml", "data/reference", "data/reference_second"):
        shutil.copytree(name, place / name) if Path(name).is_dir() else shutil.copy(name, place / name)
    place.git("add", "-A")
    place.git("commit", "-qm", "Take the real gate")
    monkeypatch.chdir(place.path)
    work_folder.cache_clear()
    yield place
    work_folder.cache_clear()


def damage(repo: ReleaseRepository, md5: str) -> None:
    """Changes a byte of a file in DVC's cache."""
    file = repo / f".dvc/cache/files/md5/{md5[:2]}/{md5[2:]}"
    whole = bytearray(file.read_bytes())
    whole[len(whole) // 2] ^= 1
    file.chmod(0o644)
    file.write_bytes(whole)
    file.chmod(0o444)  # DVC trusts read-only files in its cache


@pytest.mark.long
def test_the_real_gate_releases_refuses_and_will_not_compare_with_a_damaged_live_bundle(
    repo: ReleaseRepository,
) -> None:
    state = retrain(models="gan")
    assert (state.name, state.message) == (
        "Released",
        "gan@v1.0.0 is live; gan blessed by the limits alone, because no version is live",
    )
    repo.set_params(gan=1)
    state = retrain(models="gan")
    assert state.name == "Rejected", state.message
    assert str(state.message).startswith("gan refused against gan@v1.0.0; ")
    assert "; regression: fd_relative is " in str(state.message)
    record = json.loads((repo / ".work/gate/gan.json").read_text())
    assert record["live"]["bundle"].endswith(".work/live/gan@v1.0.0") and record["live"]["metrics"]
    assert record["comparisons"]["fd_relative"]["verdict"] == "worse"
    assert [path.name for path in sorted((repo / ".work/gate/gan").iterdir())] == [
        "candidate.png",
        "live.png",
    ]
    assert repo.tags() == ["gan#live#1", "gan@v1.0.0"] and repo.clean()

    damage(repo, md5_file(repo / "made/0/gan.onnx"))
    repo.set_params(gan=2)
    state = retrain(models="gan")
    assert state.is_failed() and "gate_gan failed: the live bundle" in str(state.message)
    assert "gan.onnx was changed" in str(state.message) and "imagewright rollback gan" in str(state.message)
    assert repo.tags() == ["gan#live#1", "gan@v1.0.0"] and repo.clean()
