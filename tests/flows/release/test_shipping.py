"""Releases: what consumers get from a folder and from S3, deprecation, candidates and reproduction."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from moto.server import ThreadedMotoServer

from flows.release.registry import deprecated, find_release
from flows.reproduce import reproduce
from tasks.bundle.verify import verify_files
from tasks.common.errors import UserError
from tasks.release.signature import make_keys
from tests.flows.released import ReleaseRepository, deprecate, gate_and_release, retrain, rollback

pytestmark = [pytest.mark.usefixtures("server"), pytest.mark.filterwarnings("ignore::DeprecationWarning")]


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of an S3 server with an empty bucket `models`."""
    import boto3

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    address = "http://{}:{}".format(*server.get_host_and_port())
    boto3.client("s3", endpoint_url=address).create_bucket(Bucket="models")
    yield address
    server.stop()


def get(repo: ReleaseRepository, empty: Path, *which: str) -> Path:
    """Returns what `dvc artifacts get` fetches with the repository's address alone."""
    empty.mkdir()
    command = [sys.executable, "-m", "dvc", "artifacts", "get", str(repo.path), "gan", *which]
    done = subprocess.run(command, cwd=empty, env=repo.environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return empty / "gan"


def test_a_stranger_gets_a_release_from_s3(repo: ReleaseRepository, bucket: str, tmp_path: Path) -> None:
    repo.dvc("remote", "remove", "--local", "storage")
    repo.dvc("remote", "add", "-q", "-d", "s3", "s3://models/dvc")
    repo.dvc("remote", "modify", "-q", "s3", "endpointurl", bucket)
    repo.git("commit", "-qam", "Name the remote")
    assert retrain(models="gan").name == "Released"
    shutil.rmtree(repo / ".dvc/cache")
    got = get(repo, tmp_path / "stranger", "--stage", "live")
    assert (got / "gan.onnx").read_text() == "pixels 0"
    assert verify_files(got)


@pytest.mark.long
def test_notes_stand_in_the_tag_in_the_commit_and_beside_the_model(repo: ReleaseRepository, tmp_path: Path) -> None:
    repo.dvc("remote", "add", "-q", "-d", "storage", str(tmp_path / "remote"))
    repo.git("commit", "-qam", "Name the remote")
    retrain(models="gan")
    repo.set_params(gan=5)
    retrain(models="gan")
    for message in (
        repo.git("tag", "-l", "--format=%(contents)", "gan@v1.1.0"),
        repo.git("log", "-1", "gan@v1.1.0"),
    ):
        assert "Replaces v1.0.0; the gate's decision: blessed." in message
        assert "| `fd_relative` | 0.00 | 0.0500 | lower |" in message
    got = get(repo, tmp_path / "stranger", "--rev", "v1.1.0")
    lineage = json.loads((got / "lineage.json").read_text())
    before = json.loads(repo.git("show", "gan@v1.0.0:data/release/gan.json"))
    assert lineage["parent"] == {
        "version": "v1.0.0",
        "commit": repo.git("rev-parse", "gan@v1.0.0^{commit}"),
        "sha256": before["files"]["gan.onnx"]["sha256"],
    }
    assert "| `fd_relative` | 0.00 | 0.0500 | lower |" in (got / "RELEASE.md").read_text()


def test_a_release_is_signed_where_git_knows_a_key(repo: ReleaseRepository, tmp_path: Path) -> None:
    repo.dvc("remote", "add", "-q", "-d", "storage", str(tmp_path / "remote"))
    repo.git("commit", "-qam", "Name the remote")
    public = make_keys(tmp_path / "mine.pem")
    repo.git("config", "imagewright.signingKey", str(tmp_path / "mine.pem"))
    retrain(models="gan")
    got = get(repo, tmp_path / "stranger", "--stage", "live")
    assert verify_files(got, public)
    assert not verify_files(got, make_keys(tmp_path / "other.pem"))


@pytest.mark.long
def test_any_version_but_the_live_one_can_be_deprecated(repo: ReleaseRepository) -> None:
    retrain(models="gan")
    repo.new_data("more pixels")
    retrain(models="gan")
    assert "gan@v1.1.0 is live; make another version live first" in str(deprecate("gan@v1.1.0", "slow").message)
    assert "`gan@v7.0.0` is not a release; the releases are: gan@v1.0.0, gan@v1.1.0" in str(
        deprecate("gan@v7.0.0", "x").message
    )
    assert deprecate("gan@v1.0.0", "generates shoes for bags").name == "Deprecated"
    assert deprecated(repo.path, "gan") == {"v1.0.0": "generates shoes for bags"}
    assert "is deprecated already" in str(deprecate("gan@v1.0.0", "again").message)
    assert "gan@v1.0.0 is deprecated (generates shoes for bags); choose one of v1.1.0" in str(
        rollback("gan", "v1.0.0").message
    )
    assert "the only version of gan that was ever live" in str(rollback("gan").message)
    repo.new_data("still more pixels")
    retrain(models="gan")
    assert "gan@v1.2.0" in repo.tags(), "a number is not used twice"


@pytest.mark.long
def test_a_candidate_is_for_others_to_try_and_becomes_live_under_its_number(
    repo: ReleaseRepository,
    tmp_path: Path,
) -> None:
    repo.dvc("remote", "add", "-q", "-d", "storage", str(tmp_path / "remote"))
    repo.git("commit", "-qam", "Name the remote")
    retrain(models="gan")
    repo.set_params(gan=13)
    assert retrain(models="gan").name == "Rejected"
    branch = repo.branches()[-1]
    state = gate_and_release(branch, "gan", stage="candidate")
    assert state.name == "Released" and str(state.message).startswith("gan@v1.1.0 is candidate; gan refused")
    lineage = json.loads((get(repo, tmp_path / "candidate", "--stage", "candidate") / "lineage.json").read_text())
    assert (lineage["version"], lineage["gate"]["decision"]) == ("v1.1.0", "refused")
    assert (get(repo, tmp_path / "live", "--stage", "live") / "gan.onnx").read_text() == "pixels 0"
    state = gate_and_release("gan@v1.1.0", "gan", override_by="Ada", override_because="it is fine")
    assert str(state.message).startswith("gan@v1.1.0 is live")
    assert [tag for tag in repo.tags() if "@" in tag] == ["gan@v1.0.0", "gan@v1.1.0"]


def test_uncommitted_results_are_an_error(repo: ReleaseRepository) -> None:
    repo.dvc("repro", "-q")
    state = gate_and_release("HEAD")
    assert state.is_failed() and "dvc.lock changed since the last commit" in str(state.message)
    repo.git("add", "-A")
    repo.git("commit", "-qm", "Results")
    assert gate_and_release("HEAD", "gan").name == "Released"


def test_results_that_cannot_be_fetched_are_an_error(repo: ReleaseRepository, tmp_path: Path) -> None:
    state = gate_and_release("HEAD", "gan")
    assert state.is_failed() and "bundle_gan of this commit" in str(state.message), "the stage never ran"
    repo.dvc("repro", "-q")
    repo.git("add", "-A")
    repo.git("commit", "-qm", "Results")
    shutil.rmtree(repo / ".dvc/cache")
    state = gate_and_release("HEAD", "gan")
    assert state.is_failed() and "data/raw.dvc of this commit is neither in DVC's cache nor" in str(state.message)
    assert "`make remote URL=...`" in str(state.message) and repo.clean()


@pytest.mark.long
def test_a_release_is_reproduced_or_the_differences_are_printed(
    repo: ReleaseRepository,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    retrain(models="gan")
    release = find_release(repo.path, "gan@v1.0.0")
    assert reproduce(repo.path, release)
    said = capsys.readouterr().out
    assert "dvc repro: nothing had to run" in said and re.search(r"(?m)^bundle_gan .* same$", said)

    make = (repo / "make.py").read_text()
    (repo / "make.py").write_text(make.replace('"pixels', '"').replace("{data} {seed}", "{data} {time.time()}"))
    repo.git("commit", "-qam", "Let time in")
    retrain(models="gan")
    assert not reproduce(repo.path, find_release(repo.path, "gan@v1.1.0"))
    assert re.search(r"(?m)^bundle_gan .* DIFFERENT  data/bundle/gan$", capsys.readouterr().out)

    shutil.rmtree(tmp_path / "remote")
    with pytest.raises(UserError, match=r"the data of gan@v1\.0\.0 cannot be pulled from the DVC remote .*dvc push"):
        reproduce(repo.path, release)
