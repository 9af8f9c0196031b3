"""A real release from its commit to a consumer's disk: lineage, its checks, and `dvc artifacts get`."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import onnx
import pytest

from flows.core.processes import ProcessGroup
from flows.release.commits import commit_release, notes_of, pack, push_data
from flows.release.registry import Release, assign, register
from flows.reproduce import reproduce
from tasks.common.files import dvc_folder_hash, md5_file
from tasks.common.paths import work_folder
from tests.conftest import Checkout
from tests.test_end_to_end import hashes, prepare, repro

pytestmark = pytest.mark.long

DECISION = {
    "candidate": {"bundle": "data/bundle/gan"},
    "live": None,
    "decision": "blessed",
    "reasons": [],
    "comparisons": {},
    "override": None,
    "settings": {},
    "skipped": None,
}


def git(checkout: Checkout, *arguments: str) -> str:
    done = checkout.run("git", "-c", "user.name=Test", "-c", "user.email=test@example.com", *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def ship(checkout: Checkout, version: str) -> Release:
    """Releases the GAN of the last commit as the flow does after the gate's decision."""
    decision = checkout / ".work/gate/gan.json"
    decision.parent.mkdir(parents=True, exist_ok=True)
    decision.write_text(json.dumps(DECISION))
    with ProcessGroup(checkout.path) as processes:
        pack(processes, Release("gan", version, "HEAD"), None, "test", decision, print)
        push_data(processes, print)
    release = Release("gan", version, commit_release(checkout.path, [Release("gan", version, "HEAD")]))
    register(checkout.path, release, notes_of(checkout.path, "gan"))
    assign(checkout.path, release)
    return release


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkout]:
    """A checkout whose GAN is released as gan@v1.0.0 and live, with a DVC remote beside it."""
    folder = tmp_path_factory.mktemp("shipping")
    checkout = prepare(folder / "project")
    assert repro(checkout, "bundle_gan")
    checkout.run("dvc", "remote", "add", "-q", "-d", "storage", str(folder / "remote"))
    for name, value in (("user.name", "Test"), ("user.email", "test@example.com")):
        git(checkout, "config", name, value)
    git(checkout, "add", "-A")
    git(checkout, "commit", "-qm", "Results")
    before = Path.cwd()
    os.chdir(checkout.path)
    work_folder.cache_clear()
    ship(checkout, "v1.0.0")
    yield checkout
    os.chdir(before)
    work_folder.cache_clear()


@pytest.fixture(scope="module")
def got(released: Checkout, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle that `dvc artifacts get` fetches with the repository's address alone."""
    empty = tmp_path_factory.mktemp("consumer")
    command = [sys.executable, "-m", "dvc", "artifacts", "get", str(released.path), "gan", "--stage", "live"]
    done = subprocess.run(command, cwd=empty, env=released.environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return empty / "gan"


def lineage(released: Checkout, *arguments: str) -> tuple[int, list[str], str]:
    """Returns the exit code, the lines of the checks, and the whole output."""
    done = released.python("-m", "tasks.release.lineage", *arguments)
    output = done.stdout + done.stderr
    return done.returncode, [line for line in output.splitlines() if line.startswith(("ok  ", "FAIL"))], output


def test_a_release_moves_no_output_and_no_branch(released: Checkout) -> None:
    assert git(released, "show", "gan@v1.0.0:dvc.lock") == git(released, "show", "gan@v1.0.0~:dvc.lock")
    assert git(released, "rev-parse", "HEAD") == git(released, "rev-parse", "gan@v1.0.0^{commit}")
    assert "data/release/gan.dvc" not in git(released, "ls-tree", "-r", "--name-only", "gan@v1.0.0~")
    assert git(released, "branch", "--format=%(refname:short)", "--contains", "gan@v1.0.0").startswith("(HEAD")


def test_folder_hashes_are_dvcs_own(released: Checkout) -> None:
    files = {path.name: md5_file(path) for path in (released / "data/bundle/gan").iterdir()}
    assert dvc_folder_hash(files) == hashes(released)["data/bundle/gan"]


def test_a_fetched_bundle_has_its_lineage_and_git_and_dvc_agree(released: Checkout, got: Path) -> None:
    code, checks, output = lineage(released, str(got / "gan.onnx"))
    assert (code, {check[:2] for check in checks}) == (0, {"ok"}), output
    assert len(checks) == 11
    assert re.search(r"(?m)^train_gan +20\d\d-.*, [\d,]+ s, .*cpu", output) and "gate           blessed" in output
    assert re.search(r"(?m)^trained with +numpy [\d.]+, torch [\d.]+ on cpu [A-Z\d]+ \(cpu/.*, 1 thread\)$", output)
    assert re.search(r"(?m)^exported with .*torch \d", output) and re.search(r"(?m)^images .*[\d,]+ train", output)


def test_a_file_alone_finds_its_lineage_at_the_tag(released: Checkout, got: Path, tmp_path: Path) -> None:
    shutil.copy(got / "gan.onnx", tmp_path)
    code, checks, output = lineage(released, str(tmp_path / "gan.onnx"))
    assert code == 0 and "from gan@v1.0.0" in output and len(checks) == 11
    other = tmp_path / "elsewhere"
    other.mkdir()
    code, checks, output = lineage(released, str(tmp_path / "gan.onnx"), "--repo", str(other))
    assert code == 0 and "no lineage" in output and not checks


@pytest.mark.parametrize(
    ("corrupt", "words"),
    [
        (lambda record: record.update(commit="0" * 40), "git: commit 0000000000 is not in this clone"),
        (lambda record: record["dvc"].update({"data/weights/gan": "f" * 32}), "has other hashes of data/weights/gan"),
        (lambda record: record["files"]["gan.onnx"].update(sha256="0" * 64), "it describes other bytes than those of"),
        (lambda record: record["files"]["gan.onnx"].update(md5="0" * 32), "has other files in data/bundle/gan"),
        (lambda record: record.update(run="another"), "git: gan@v1.0.0 has another lineage"),
    ],
)
def test_a_false_lineage_is_detected(released: Checkout, got: Path, tmp_path: Path, corrupt, words: str) -> None:  # type: ignore[no-untyped-def]
    damaged = json.loads((got / "lineage.json").read_text())
    corrupt(damaged)
    shutil.copy(got / "gan.onnx", tmp_path)
    (tmp_path / "lineage.json").write_text(json.dumps(damaged))
    code, checks, output = lineage(released, str(tmp_path / "gan.onnx"))
    assert code == 1, output
    assert any(check.startswith("FAIL") and words in check for check in checks), output


def with_contract(whole: bytes, contract: str) -> bytes:
    model = onnx.load_from_string(whole)
    model.metadata_props[0].value = contract
    return bytes(model.SerializeToString())


def with_external_weights(whole: bytes) -> bytes:
    """Refers to a file of the reader for the weights; reading a contract must not open it."""
    model = onnx.load_from_string(whole)
    tensor = model.graph.initializer[0]
    tensor.data_location = onnx.TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "../../../../../../etc/passwd"
    return bytes(model.SerializeToString())


@pytest.mark.parametrize(
    ("corrupt", "words"),
    [
        (lambda whole: whole[: len(whole) // 2], "is not an ONNX file, or was cut short; get it again"),
        (lambda whole: b"", "carries no contract: it was cut short, or Imagewright did not make it"),
        (lambda whole: with_contract(whole, "{"), "carries a contract that was made by another version, or is damaged"),
        (lambda whole: with_contract(whole, '{"model": "--output=x"}'), "made by another version, or is damaged"),
    ],
)
def test_a_file_that_the_project_did_not_make_is_one_error_sentence(
    released: Checkout, got: Path, tmp_path: Path, corrupt: Callable[[bytes], bytes], words: str
) -> None:
    (tmp_path / "damaged.onnx").write_bytes(corrupt((got / "gan.onnx").read_bytes()))
    code, _, output = lineage(released, str(tmp_path / "damaged.onnx"))
    assert code == 2 and words in output and "Traceback" not in output and len(output.splitlines()) == 1


def test_a_hostile_path_of_weights_is_not_opened(released: Checkout, got: Path, tmp_path: Path) -> None:
    (tmp_path / "gan.onnx").write_bytes(with_external_weights((got / "gan.onnx").read_bytes()))
    shutil.copy(got / "lineage.json", tmp_path)
    code, checks, output = lineage(released, str(tmp_path / "gan.onnx"))
    assert code == 1 and "it describes other bytes than those of gan.onnx" in checks[0], output


@pytest.mark.parametrize(
    "change",
    [
        {"model": "--output=x"},
        {"commit": "--all"},
        {"files": []},
        {"files": {"a": {}}},
        {"gate": {"decision": "maybe"}},
    ],
)
def test_a_damaged_lineage_is_one_sentence(
    released: Checkout, got: Path, tmp_path: Path, change: dict[str, object]
) -> None:
    shutil.copy(got / "gan.onnx", tmp_path)
    (tmp_path / "lineage.json").write_text(json.dumps(json.loads((got / "lineage.json").read_text()) | change))
    code, _, output = lineage(released, str(tmp_path / "gan.onnx"))
    assert code == 2 and "lineage.json is damaged; get the bundle again" in output and "Traceback" not in output


def test_it_is_reproduced_byte_for_byte(released: Checkout, capsys: pytest.CaptureFixture[str]) -> None:
    release = Release("gan", "v1.0.0", git(released, "rev-parse", "gan@v1.0.0^{commit}"))
    assert reproduce(released.path, release), capsys.readouterr().out
    output = capsys.readouterr().out
    assert "dvc repro: nothing had to run" in output
    assert len(re.findall(r"(?m)^\w+ +[\d.]+ s  same$", output)) == 7
