"""The flows run the DAG that dvc.yaml declares, and DVC's locks neither fail a run nor outlive one."""

import json
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from dvc.repo import Repo

from flows.core.dag import Policy, clear_stale_locks, dvc_command, dvc_environment, read_dag, status, unchanged
from tasks.common.errors import UserError
from tests.flows.conftest import Toy


@pytest.fixture
def diamond(toy: Toy) -> Toy:
    """Stages whose order is neither that of the alphabet nor that of dvc.yaml."""
    toy.stage("z_evaluate", reads="data/b_train")
    toy.stage("b_train", reads="data/prepared", resource="device", deadline=60, retries=2)
    toy.stage("a_train", reads="data/prepared", resource="device")
    toy.stage("prepared")
    return toy


def test_the_graph_and_the_order(diamond: Toy) -> None:
    stages = read_dag(diamond.path).stages
    assert {stage.name: stage.upstream for stage in stages} == {
        "prepared": (),
        "b_train": ("prepared",),
        "z_evaluate": ("b_train",),
        "a_train": ("prepared",),
    }
    names = [stage.name for stage in stages]
    assert all(names.index(source) < names.index(stage.name) for stage in stages for source in stage.upstream)
    assert names.index("b_train") < names.index("a_train"), "where the graph leaves it open, dvc.yaml's order decides"


def test_the_policy_comes_from_meta(diamond: Toy) -> None:
    policies = {stage.name: stage.policy for stage in read_dag(diamond.path).stages}
    assert policies["b_train"] == Policy(resource="device", deadline=60, retries=2)
    assert policies["prepared"] == Policy()


@pytest.mark.parametrize("meta", [{"deadlin": 5}, {"retries": -1}, {"deadline": "soon"}])
def test_invalid_meta_is_a_named_mistake(toy: Toy, meta: dict[str, object]) -> None:
    toy.stage("prepared", **meta)
    with pytest.raises(UserError, match=f"stage `prepared` is invalid.*{next(iter(meta))}"):
        read_dag(toy.path)


@pytest.mark.parametrize("gone", ["data/raw", "data/raw.dvc"])
def test_an_error_for_missing_data_says_how_to_get_it(toy: Toy, gone: str) -> None:
    toy.stage("prepared")
    read_dag(toy.path)
    (toy / gone).rename(toy / "elsewhere")
    with pytest.raises(UserError, match=r"data/raw is missing.*`make data`"):
        read_dag(toy.path)


def test_a_broken_dvc_yaml_is_a_mistake(toy: Toy) -> None:
    (toy / "dvc.yaml").write_text("stages: {prepared: {cmd: true")
    with pytest.raises(UserError, match=r"DVC cannot read .*dvc\.yaml"):
        read_dag(toy.path)


def test_status_has_what_changed(toy: Toy) -> None:
    toy.stage("prepared")
    assert "prepared" in status(toy.path)
    toy.dvc("repro")
    assert status(toy.path) == {}


def test_changed_stages_and_their_descendants_are_not_unchanged(diamond: Toy) -> None:
    def result() -> set[str]:
        return set(unchanged(diamond.path, read_dag(diamond.path)))

    assert result() == set()
    diamond.dvc("repro")
    assert result() == {"prepared", "a_train", "b_train", "z_evaluate"}
    (diamond / "data/b_train").unlink()
    assert result() == {"prepared", "a_train"}
    diamond.dvc("checkout")
    diamond.stage("prepared", cmd="echo > data/prepared")
    assert result() == set()
    diamond.stage("prepared")
    assert len(result()) == 4
    (diamond / "dvc.lock").unlink()
    assert result() == set()


def test_every_dvc_command_waits_for_the_lock(toy: Toy) -> None:
    assert dvc_command("repro", "-s", "x")[-4:] == ["--wait-for-lock", "repro", "-s", "x"]
    with Repo(str(toy.path)) as repo:
        repo.lock.lock()
        threading.Timer(4, repo.lock.unlock).start()  # by default DVC gives up after 3 s
        start = time.monotonic()
        done = subprocess.run(dvc_command("status"), cwd=toy.path, env=dvc_environment(), capture_output=True)
    assert done.returncode == 0
    assert time.monotonic() - start > 3.5


def test_the_environment_makes_python_this_interpreter(toy: Toy) -> None:
    shown = subprocess.run(
        ["sh", "-c", "python -c 'import sys; print(sys.executable)'"],
        env=dvc_environment(),
        capture_output=True,
        text=True,
    )
    assert shown.stdout.strip() == sys.executable


def write_lock(toy: Toy, pid: int) -> None:
    (toy / ".dvc/tmp").mkdir(exist_ok=True)
    (toy / ".dvc/tmp/rwlock").write_text(json.dumps({"read": {"data/raw": [{"pid": pid, "cmd": "dvc repro"}]}}))


def sleeper(folder: Path, *arguments: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", *arguments], cwd=folder)


def test_a_lock_whose_process_id_is_in_use_again_is_cleared(toy: Toy, tmp_path: Path) -> None:
    for process in (sleeper(toy.path, "other"), sleeper(tmp_path, "dvc")):  # another program here, a dvc elsewhere
        write_lock(toy, process.pid)
        clear_stale_locks(toy.path, patience=0)
        assert not (toy / ".dvc/tmp/rwlock").exists()
        process.kill()
        process.wait()


def test_half_a_lock_file_is_cleared(toy: Toy) -> None:
    (toy / ".dvc/tmp").mkdir(exist_ok=True)
    (toy / ".dvc/tmp/rwlock").write_text('{"read": {')
    clear_stale_locks(toy.path)
    assert not (toy / ".dvc/tmp/rwlock").exists()


def test_a_live_dvc_keeps_its_lock(toy: Toy) -> None:
    process = sleeper(toy.path, "dvc")
    write_lock(toy, process.pid)
    with pytest.raises(UserError, match=f"process {process.pid}"):
        clear_stale_locks(toy.path, patience=0)
    assert (toy / ".dvc/tmp/rwlock").exists()
    process.kill()
    process.wait()
    clear_stale_locks(toy.path, patience=0)
    assert not (toy / ".dvc/tmp/rwlock").exists()
