"""DVC's remote: a local one by default, a shared one on request; `make clean` deletes neither."""

from pathlib import Path

import pytest

from flows.server.remote import ensure_remote, remote_text, set_remote
from tasks.common.errors import UserError
from tests.conftest import ROOT, Checkout


@pytest.fixture
def here(checkout: Checkout, monkeypatch: pytest.MonkeyPatch) -> Checkout:
    (checkout / ".work").mkdir()
    monkeypatch.chdir(checkout.path)
    return checkout


def test_a_checkout_without_a_remote_gets_a_local_one(here: Checkout) -> None:
    work = here / ".work"
    assert remote_text(work).startswith("none")
    ensure_remote(work)
    assert remote_text(work).startswith(f"{work / 'remote'}, which only this machine can reach; `make remote")
    (here / "file").write_text("content")
    assert here.run("dvc", "add", "-q", "file").returncode == 0
    assert here.run("dvc", "push", "-q").returncode == 0
    assert [path for path in (work / "remote").rglob("*") if path.is_file()]
    assert here.run("git", "status", "--porcelain", ".dvc/config").stdout == "", "it is set for this checkout alone"


def test_a_shared_remote_replaces_the_local_one_and_stays(
    here: Checkout, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ensure_remote(here / ".work")
    shared = str(tmp_path / "shared folder")
    set_remote(shared)
    printed = capsys.readouterr().out
    assert "git add .dvc/config" in printed and "dvc push --all-commits" in printed
    assert remote_text(here / ".work") == shared
    ensure_remote(here / ".work")
    assert remote_text(here / ".work") == shared
    assert here.run("git", "status", "--porcelain", ".dvc/config").stdout == " M .dvc/config\n"
    (here / "file").write_text("content")
    assert here.run("dvc", "add", "-q", "file").returncode == 0
    assert here.run("dvc", "push", "-q").returncode == 0
    assert [path for path in Path(shared).rglob("*") if path.is_file()]


def test_an_empty_url_is_a_user_error(here: Checkout) -> None:
    with pytest.raises(UserError, match="make remote URL="):
        set_remote("")


def test_clean_keeps_the_remote(checkout: Checkout) -> None:
    (checkout / "Makefile").write_text((ROOT / "Makefile").read_text())
    for name in ("remote/files/md5/ab", "checkpoints/train", "prefect"):
        (checkout / ".work" / name).mkdir(parents=True)
    (checkout / "report").mkdir()
    done = checkout.run("make", "clean")
    assert done.returncode == 0 and ".work/remote stays" in done.stdout
    assert [path.name for path in (checkout / ".work").iterdir()] == ["remote"]
    assert (checkout / ".work/remote/files/md5/ab").is_dir() and not (checkout / "report").exists()
    (checkout / ".work/remote").rename(checkout / "elsewhere")
    assert checkout.run("make", "clean").stdout == ""
    assert not (checkout / ".work").exists()
