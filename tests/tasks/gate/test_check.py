"""The gate checks both bundles with the project's own code and executes nothing that a bundle contains."""

import shutil
from pathlib import Path

import pytest

from tasks.bundle.faults import bundle_faults, write_sums
from tests.tasks.gate.test_gate import gate, project  # noqa: F401


def test_a_candidates_own_script_is_never_executed(project: Path) -> None:  # noqa: F811
    """It agrees with the list of hashes, so nothing but its text says that it is not the project's."""
    folder = project / "hostile"
    shutil.copytree(project / "live", folder)
    marker = project / "executed"
    for name in ("verify.py", "numpy.py", "onnxruntime.py", "sitecustomize.py"):
        (folder / name).write_text(f"open({str(marker)!r}, 'w').write('here')\n")
    write_sums(folder)  # as somebody does who hides a change
    code, decision, said = gate(project, "hostile", "--live", "live")
    assert (code, decision["reasons"]) == (
        1,
        ["bundle: verify.py differs from this project's, and users of the bundle would run it; make the bundle again"],
    ), said
    assert not marker.exists()
    (folder / "verify.py").unlink()
    write_sums(folder)  # as somebody does who hides a change
    code, decision, _ = gate(project, "hostile")
    assert code == 1 and decision["reasons"][0].startswith("bundle: verify.py is missing")
    assert not marker.exists()


def test_a_live_bundle_of_an_earlier_release_is_compared_whatever_its_script_says(project: Path) -> None:  # noqa: F811
    folder = project / "earlier"
    shutil.copytree(project / "live", folder)
    (folder / "verify.py").write_text("raise SystemExit('an earlier script, which is not executed')\n")
    write_sums(folder)  # as somebody does who hides a change
    code, decision, said = gate(project, "live", "--live", "earlier")
    assert (code, decision["decision"]) == (0, "blessed"), said


@pytest.mark.parametrize("name", ["gan.onnx", "contract.json", "gan.golden.npz"])
def test_a_damaged_live_bundle_is_one_sentence_with_what_to_do(project: Path, name: str) -> None:  # noqa: F811
    folder = project / f"damaged-{name}"
    shutil.copytree(project / "live", folder)
    whole = bytearray((folder / name).read_bytes())
    whole[len(whole) // 2] ^= 1
    (folder / name).write_bytes(whole)
    code, decision, said = gate(project, "live", "--live", folder.name)
    assert (code, decision) == (2, {}), said
    assert len(said.splitlines()) == 1
    assert (
        f"the live bundle {folder.name} fails its check, so nothing can be compared with it: {name} was changed" in said
    )
    assert said.endswith("make an earlier version live: imagewright rollback gan\n")


def test_a_live_bundle_that_is_not_there_is_one_sentence(project: Path) -> None:  # noqa: F811
    code, decision, said = gate(project, "live", "--live", "nowhere")
    assert (code, decision) == (2, {})
    assert said == "error: nowhere is not a folder; name the live model's bundle, or omit --live\n"


def test_a_check_that_dies_is_a_fault(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    dying = tmp_path / "dying.py"
    dying.write_text("import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n")
    monkeypatch.setattr("tasks.bundle.faults.SCRIPT", dying)
    assert bundle_faults(project / "live") == [
        "the check was killed by SIGSEGV, as a damaged .onnx file can do; make or get the bundle again"
    ]
