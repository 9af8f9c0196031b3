"""The flows `retrain`, `gate-and-release` and `rollback`: worktrees, verdicts, releases, and what a failure leaves."""

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from prefect.client.schemas.objects import State

from flows.ui.form import check_overrides
from tasks.bundle.verify import verify_files
from tests.flows.conftest import until
from tests.flows.released import ReleaseRepository, gate_and_release, retrain, rollback

pytestmark = [pytest.mark.usefixtures("server"), pytest.mark.filterwarnings("ignore::DeprecationWarning")]


def test_a_blessed_run_is_pushed_committed_and_tagged_and_changes_no_file_of_the_checkout(
    repo: ReleaseRepository,
) -> None:
    before = repo.git("rev-parse", "HEAD"), repo.git("status", "--porcelain")
    state = retrain()
    assert (state.name, state.is_completed()) == ("Released", True), state.message
    assert state.message is not None and state.message.startswith("gan@v1.0.0 is live; vae@v1.0.0 is live")
    assert (repo.git("rev-parse", "HEAD"), repo.git("status", "--porcelain")) == before
    assert not (repo / "data/bundle").exists()
    assert repo.tags() == ["gan#live#1", "gan@v1.0.0", "vae#live#1", "vae@v1.0.0"]
    [branch] = repo.branches()
    assert repo.git("rev-parse", f"{branch}~") == before[0]
    assert repo.git("rev-parse", branch) == repo.git("rev-parse", "gan@v1.0.0~"), "the branch has the results alone"
    assert "Run: " in repo.git("log", "-1", "--format=%B", branch)
    assert {"dvc.lock", "data/metrics/gan.json"} <= set(repo.git("show", "--format=", "--name-only", branch).split())
    assert (repo / f".work/reports/{branch.partition('/')[2]}/index.html").read_text() == "<h1>a report</h1>"
    assert repo.clean()


def test_a_stranger_gets_what_is_live_by_the_repositorys_address_alone(repo: ReleaseRepository, tmp_path: Path) -> None:
    repo.dvc("remote", "add", "-q", "-d", "storage", str(tmp_path / "remote"))
    repo.git("commit", "-qam", "Name the remote")
    retrain(models="gan")
    shutil.rmtree(repo / ".dvc/cache")
    got = tmp_path / "got"
    repo.dvc("artifacts", "get", str(repo.path), "gan", "--stage", "live", "--out", str(got))
    assert (got / "gan.onnx").read_text() == "pixels 0"
    lineage = json.loads((got / "lineage.json").read_text())
    assert lineage["commit"] == repo.git("rev-parse", "gan@v1.0.0~") and lineage["gate"]["decision"] == "blessed"
    assert (got / "lineage.json").read_text().strip() == repo.git("show", "gan@v1.0.0:data/release/gan.json")
    assert verify_files(got)


@pytest.mark.long
def test_new_data_that_nobody_committed_is_trained_on_and_recorded(repo: ReleaseRepository) -> None:
    retrain()
    repo.new_data("more pixels")
    assert retrain().name == "Released"
    assert repo.tags() == ["gan#live#1", "gan#live#2", "gan@v1.0.0", "gan@v1.1.0"] + [
        tag.replace("gan", "vae") for tag in ("gan#live#1", "gan#live#2", "gan@v1.0.0", "gan@v1.1.0")
    ]
    pinned = repo.git("show", "gan@v1.1.0:data/raw.dvc")
    assert pinned == (repo / "data/raw.dvc").read_text().strip()
    settings = json.loads((repo / ".work/gate/gan.json").read_text())["settings"]
    assert settings == {"seed_of_live": 0}, "compared with what was live"


def test_one_model_and_overrides(repo: ReleaseRepository) -> None:
    state = retrain(models="gan", overrides=check_overrides({"train_gan": {"seed": 7}}))
    assert state.name == "Released"
    assert repo.ran() == ["gan"] and repo.tags() == ["gan#live#1", "gan@v1.0.0"]
    assert "seed: 7" in repo.git("show", "gan@v1.0.0:params.yaml")
    assert "seed: 7" not in (repo / "params.yaml").read_text()


@pytest.mark.long
def test_a_refused_model_is_kept_but_not_published_until_a_person_overrides_that(repo: ReleaseRepository) -> None:
    retrain()
    before = repo.branches()
    repo.set_params(gan=13)
    state = retrain()
    assert (state.name, state.is_completed()) == ("Rejected", True)
    assert state.message is not None and "regression: seed 13 is unlucky" in state.message
    assert "vae is already live (vae@v1.0.0)" in state.message
    assert "gan@v1.1.0" not in repo.tags()
    [branch] = {*repo.branches()} - {*before}
    assert retrain().name == "Nothing new", "the same inputs are not gated again"

    again = gate_and_release(branch, "gan")
    assert again.name == "Rejected"
    overridden = gate_and_release(branch, "gan", override_by="Ada", override_because="the metric is wrong about bags")
    assert overridden.name == "Released", overridden.message
    assert json.loads((repo / ".work/gate/gan.json").read_text())["override"]["by"] == "Ada"
    assert repo.git("rev-parse", "gan@v1.1.0~") == repo.git("rev-parse", branch)
    assert repo.clean()


@pytest.mark.long
def test_a_gate_that_dies_gives_no_verdict_in_spite_of_an_earlier_record(repo: ReleaseRepository) -> None:
    retrain(models="gan")
    assert json.loads((repo / ".work/gate/gan.json").read_text())["decision"] == "blessed"
    (repo / "tasks/gate/__main__.py").write_text("raise RuntimeError('out of luck')\n")
    repo.set_params(gan=5)
    state = retrain(models="gan")
    assert state.is_failed() and "the gate ended without a decision" in str(state.message), state.message
    assert repo.tags() == ["gan#live#1", "gan@v1.0.0"] and repo.clean()


def test_half_an_override_is_refused(repo: ReleaseRepository) -> None:
    state = gate_and_release("HEAD", override_by="Ada")
    assert state.is_failed() and "both a name and a reason" in str(state.message)


@pytest.mark.long
def test_a_change_that_consumers_notice_raises_the_major_number(repo: ReleaseRepository) -> None:
    retrain(models="gan")
    text = (repo / "params.yaml").read_text()
    (repo / "params.yaml").write_text(text.replace("  noise: 100\n", "  noise: 50\n"))
    repo.git("commit", "-qam", "Shorter noise")
    retrain(models="gan")
    assert "gan@v2.0.0" in repo.tags()


@pytest.mark.long
def test_rolling_back(repo: ReleaseRepository) -> None:
    assert "nothing to roll back" in str(rollback("gan").message)
    retrain(models="gan")
    assert "the only version of gan that was ever live" in str(rollback("gan").message)
    repo.new_data("more pixels")
    retrain(models="gan")
    state = rollback("gan")
    assert state.message == "gan@v1.0.0 is live and replaces gan@v1.1.0"
    assert "is live already" in str(rollback("gan", "v1.0.0").message)
    assert "gan has no version v9.0.0; choose one of v1.0.0, v1.1.0" in str(rollback("gan", "v9.0.0").message)
    assert rollback("gan", "v1.1.0").is_completed()
    assert repo.tags()[-6:-2] == ["gan#live#1", "gan#live#2", "gan#live#3", "gan#live#4"]


def test_branch_and_tags_go_to_the_git_remote(repo: ReleaseRepository, tmp_path: Path) -> None:
    repo.run("git", "init", "-q", "--bare", str(tmp_path / "origin.git"))
    repo.git("remote", "add", "origin", str(tmp_path / "origin.git"))
    retrain(models="gan")
    seen = repo.git("ls-remote", "origin").split()
    assert {"refs/tags/gan@v1.0.0", "refs/tags/gan#live#1", f"refs/heads/{repo.branches()[0]}"} <= set(seen)


def test_a_git_remote_that_refuses_loses_nothing(repo: ReleaseRepository, tmp_path: Path) -> None:
    repo.git("remote", "add", "origin", str(tmp_path / "nowhere.git"))
    state = retrain(models="gan")
    assert state.is_failed()
    assert "git push origin retrain/" in str(state.message) and "nothing is lost" in str(state.message)
    assert repo.tags() == ["gan#live#1", "gan@v1.0.0"] and repo.clean()


@pytest.mark.long
def test_a_dvc_remote_that_refuses_keeps_the_candidate(
    repo: ReleaseRepository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flows.release.publish.PUSH_DELAY_SECONDS", 0.1)
    (tmp_path / "remote").write_text("a file where a folder should be")
    state = retrain(models="gan")
    [branch] = repo.branches()
    assert state.is_failed() and f"kept on the branch {branch}" in str(state.message)
    assert "push failed: the DVC remote refused the push" in str(state.message)
    assert repo.tags() == [] and repo.clean()
    (tmp_path / "remote").unlink()
    assert gate_and_release(branch, "gan").name == "Released"
    assert repo.tags() == ["gan#live#1", "gan@v1.0.0"]


def test_a_failing_stage_fails_the_run_with_its_sentence_and_leaves_no_trace(repo: ReleaseRepository) -> None:
    repo.new_data("broken")
    state = retrain()
    assert state.is_failed()
    assert "failed: the images are broken; replace them\n  Do what the message says" in str(state.message)
    assert repo.branches() == [] and repo.tags() == [] and repo.clean()


@pytest.mark.parametrize(
    ("corrupt", "words"),
    [
        (lambda repo: (repo / "params.yaml").write_text("threads: [\n"), "params.yaml is not valid YAML"),
        (lambda repo: (repo / "data/raw.dvc").unlink(), "there is no data to train on; run `make data`"),
    ],
)
def test_a_checkout_that_cannot_be_trained_fails_at_once(
    repo: ReleaseRepository, corrupt: Callable[[ReleaseRepository], object], words: str
) -> None:
    corrupt(repo)
    repo.git("add", "-A")
    repo.git("commit", "-qm", "Corrupt")
    state = retrain()
    assert state.is_failed() and words in str(state.message)
    assert repo.ran() == [] and repo.clean()


def test_without_a_git_identity_it_says_how_to_get_one(
    repo: ReleaseRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("user.name", "user.email"):
        repo.git("config", "--unset", name)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    state = retrain()
    assert state.is_failed() and "git config --global user.name" in str(state.message)


def test_a_branch_that_exists_is_not_overwritten(repo: ReleaseRepository, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flows.retrain.run_name", lambda: "same")
    repo.git("branch", "retrain/same")
    state = retrain()
    assert state.is_failed() and "the branch retrain/same exists already" in str(state.message)
    assert repo.ran() == []


def test_other_libraries_than_the_locks_are_refused(
    repo: ReleaseRepository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "requirements.lock").write_text("torch==1\n")
    (repo / "requirements.lock").write_text("torch==2\n")
    repo.git("add", "-A")
    repo.git("commit", "-qm", "Bump")
    monkeypatch.setattr("sys.prefix", str(tmp_path))
    state = retrain()
    assert state.is_failed() and "run `make setup` in the checkout" in str(state.message)


def test_dead_worktrees_are_removed_and_live_ones_are_not(repo: ReleaseRepository) -> None:
    folder = repo / ".work/worktrees"
    for name in ("dead", "alive"):
        repo.git("worktree", "add", "-q", "--detach", str(folder / name))
    (folder / "dead.lock").touch()
    with FileLock(folder / "alive.lock"):
        retrain(models="gan")
        assert {path.name for path in folder.iterdir()} == {"setup", "alive", "alive.lock"}


@pytest.mark.long
def test_two_runs_at_once_and_a_dvc_repro_all_succeed(repo: ReleaseRepository) -> None:
    states: list[State[Any]] = []
    threads = [
        threading.Thread(target=lambda one: states.append(retrain(models=one)), args=(model,))
        for model in ("gan", "vae")
    ]
    for thread in threads:
        thread.start()
    until(lambda: any((repo / ".work/worktrees").glob("*/dvc.yaml")))
    repo.dvc("repro", "-q")
    for thread in threads:
        thread.join()
    assert [state.name for state in states] == ["Released", "Released"]
    assert repo.tags() == ["gan#live#1", "gan@v1.0.0", "vae#live#1", "vae@v1.0.0"]
    assert (repo / "data/bundle/gan/gan.onnx").read_text() == "pixels 0"
    assert repo.clean()


# `imagewright COMMAND` without its check that the folder is a checkout, which the repository of this test is not.
COMMAND = """
import sys
from flows.__main__ import _parser, run_flow
from tasks.common.cli import run
command, *arguments = sys.argv[1:]
run(lambda: run_flow(command, vars(_parser(command).parse_args(arguments))))
"""


@pytest.mark.long
def test_from_a_terminal(repo: ReleaseRepository) -> None:
    def flows(*arguments: str) -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, "-P", "-c", COMMAND, *arguments],
            cwd=repo.path,
            env=repo.environment(PREFECT_API_URL=os.environ.get("PREFECT_API_URL", "")),
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr

    code, output = flows("retrain", "--models", "gan", "--set", "train_gan.seed=x")
    assert code == 2 and "error: the overrides are invalid: `train_gan.seed` is 'x'" in output
    code, output = flows("retrain", "--models", "gan", "--set", "train_gan.seed=4")
    assert code == 0 and "\nReleased: gan@v1.0.0 is live" in output, output
    code, output = flows("rollback", "gan")
    assert code == 2 and output.startswith("error: gan@v1.0.0 is the only version of gan"), output
    assert "Still processing" not in output  # Prefect's warning at the end, after which it sends the logs
