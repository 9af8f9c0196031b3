"""The gate's record on disk: reading it, and the error for one that cannot be read."""

import json
from pathlib import Path
from typing import Any

import pytest

from tasks.common.errors import UserError
from tasks.common.files import write_json
from tasks.gate.record import EvaluatedBundle, GateDecision, NamedBundle, read_record
from tasks.release.lineage.collect import release_notes
from tasks.release.lineage.reading import lineage_lines, parse
from tests.tasks.report import standing

FILES = {"sha256": "a" * 64, "md5": "b" * 32}


def written(path: Path, **changes: object) -> Path:
    """Writes the record of a refusal with some values changed."""
    write_json(path, standing.decision("e" * 64) | changes)
    return path


def lineage(gate: object) -> dict[str, Any]:
    """Returns a release's lineage with this part of the gate."""
    parts: dict[str, Any] = {"model": "gan", "version": "v1.0.0", "commit": "c" * 40, "released": "now", "run": None}
    parts |= {"parent": None, "files": {"gan.onnx": FILES}, "inputs": {}, "dvc": {}, "stages": {}, "gate": gate}
    return parts


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    record = read_record(written(tmp_path / "gan.json"))
    assert isinstance(record.candidate, EvaluatedBundle) and record.candidate.sha256 == "e" * 64
    assert record.comparisons["coverage"].verdict == "better" and record.confidence == 0.95
    write_json(tmp_path / "again.json", record.model_dump(mode="json"))
    assert read_record(tmp_path / "again.json") == record


def test_a_record_of_earlier_code_without_settings_is_read(tmp_path: Path) -> None:
    record = {"candidate": {"bundle": "data/bundle/gan"}, "live": None, "decision": "refused", "override": None}
    write_json(tmp_path / "gan.json", record | {"reasons": ["bundle: gan.onnx is missing"], "comparisons": {}})
    found = read_record(tmp_path / "gan.json")
    assert found.candidate == NamedBundle(bundle="data/bundle/gan")
    assert (found.settings, found.confidence, found.skipped) == (None, None, None)


def test_metrics_under_their_earlier_name_are_read(tmp_path: Path) -> None:
    found = read_record(written(tmp_path / "gan.json"))
    as_before = (tmp_path / "gan.json").read_text().replace('"metrics":', '"figures":')
    (tmp_path / "before.json").write_text(as_before)
    assert '"figures":' in as_before
    assert read_record(tmp_path / "before.json") == found


def test_a_missing_record_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"gan\.json is missing: .*run `imagewright gate BUNDLE`"):
        read_record(tmp_path / "gan.json")


@pytest.mark.parametrize("change", [{"reasons": "none"}, {"candidate": {}}, {"decision": "perhaps"}, {"extra": 1}])
def test_a_record_of_another_form_is_one_sentence(tmp_path: Path, change: dict[str, object]) -> None:
    with pytest.raises(UserError, match=rf"is damaged, or was written by another version \({next(iter(change))}") as it:
        read_record(written(tmp_path / "gan.json", **change))
    assert "\n" not in str(it.value)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe"])
def test_a_damaged_record_is_one_sentence(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "gan.json").write_bytes(content)
    with pytest.raises(UserError, match=r"gan\.json is damaged, .*run the gate again") as it:
        read_record(tmp_path / "gan.json")
    assert "\n" not in str(it.value)


def test_a_lineage_quotes_the_decision_and_names_no_paths(tmp_path: Path) -> None:
    quoted = read_record(written(tmp_path / "gan.json")).quoted().model_dump(mode="json")
    assert quoted.keys() == {"decision", "reasons", "comparisons", "override", "settings", "skipped"}
    lines = dict(lineage_lines(lineage(quoted)))
    assert lines["gate"].startswith("refused; regression: fd_relative")
    by_ada = quoted | {"decision": "overridden", "override": {"by": "Ada", "because": "it is fine"}}
    assert dict(lineage_lines(lineage(by_ada)))["gate"].startswith("refused; Ada overrode it: it is fine; regression")
    assert dict(lineage_lines(lineage(None)))["gate"] == "not asked"


def test_a_lineage_whose_decision_is_damaged_is_one_sentence() -> None:
    good = json.dumps(lineage(None)).encode()
    assert parse(good, "here")["model"] == "gan"
    with pytest.raises(UserError, match="the lineage in here is damaged; get the bundle again"):
        parse(json.dumps(lineage({"decision": "blessed"})).encode(), "here")


def test_release_notes_tell_the_gates_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    decision: GateDecision = read_record(written(tmp_path / "gan.json"))
    assert "The first release; the gate's decision: refused.\n- regression: fd_relative" in release_notes(
        lineage(None), decision, []
    )
    assert "The first release; the gate was not asked." in release_notes(lineage(None), None, [])
