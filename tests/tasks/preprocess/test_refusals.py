"""Input that the stage rejects, and that data/prepared then stays as it was."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from tasks.common.errors import UserError
from tasks.common.files import read_json, sha256_file, sha256_tree
from tasks.preprocess.prepare import preprocess
from tests.tasks.noise_folders import SETTINGS, draw, draw_raw, prepare


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """120 images without labels."""
    return draw_raw(tmp_path_factory.mktemp("data") / "raw")


def test_unusable_files_are_quarantined_with_their_reasons(
    raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "raw"
    shutil.copytree(raw, folder)
    (folder / "notes.txt").write_text("hello")
    (folder / "cut.png").write_bytes((raw / "0001.png").read_bytes()[:400])
    Image.new("L", (4, 4)).save(folder / "tiny.png")
    Image.new("L", (500, 500)).save(folder / "huge.png")
    prepared = prepare(folder, tmp_path / "prepared")
    reasons = {"cut.png": "truncated", "huge.png": "decompression bomb", "notes.txt": "not an image"}
    reasons |= {"tiny.png": "too small"}
    quarantine = tmp_path / "prepared" / "quarantine.json"
    assert read_json(quarantine) == [{"file": file, "reason": reason} for file, reason in sorted(reasons.items())]
    assert prepared.manifest.rejected == dict.fromkeys(reasons.values(), 1)
    assert prepared.manifest.quarantine == sha256_file(quarantine)
    assert sum(split.count for split in prepared.manifest.splits.values()) == 120
    output = capsys.readouterr().out
    assert f"left out 4 files (1 decompression bomb, 1 not an image, 1 too small, 1 truncated); {quarantine}" in output


def test_too_many_damaged_files_stop_the_stage_and_keep_the_old_data(raw: Path, tmp_path: Path) -> None:
    prepare(raw, tmp_path / "prepared")
    before = sha256_tree(tmp_path / "prepared")
    shutil.copytree(raw, tmp_path / "raw")
    for path in sorted((tmp_path / "raw").glob("*.png"))[:40]:
        path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(UserError, match=r"40 of 120 images .* \(40 truncated; such as 0000.png") as caught:
        prepare(tmp_path / "raw", tmp_path / "prepared")
    assert "max_rejected" in str(caught.value)
    assert sha256_tree(tmp_path / "prepared") == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["prepared", "raw"]


def test_too_few_images_are_an_error_with_the_number_needed(tmp_path: Path) -> None:
    draw(tmp_path / "raw", 12)
    with pytest.raises(UserError, match=r"the split `train` has only \d+ usable images and needs 20"):
        prepare(tmp_path / "raw", tmp_path / "prepared")
    assert not (tmp_path / "prepared").exists()


def test_a_split_too_small_for_the_metrics_is_an_error(tmp_path: Path) -> None:
    draw(tmp_path / "raw" / "train", 60)
    draw(tmp_path / "raw" / "test", 1, first=200)
    with pytest.raises(UserError, match=r"the split `test` has only 1 usable images and needs 4"):
        prepare(tmp_path / "raw", tmp_path / "prepared")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda raw: (raw / "0003.png").write_bytes(b"other"), r"0003\.png was changed"),
        (lambda raw: (raw / "0003.png").unlink(), r"0003\.png is missing"),
        (lambda raw: (raw / "0003b.png").write_bytes(b"new"), r"0003b\.png is new"),
        (lambda raw: (raw / "manifest.json").unlink(), r"no manifest\.json"),
        (lambda raw: (raw / "manifest.json").write_text("[]"), r"manifest\.json is damaged"),
        (shutil.rmtree, "raw is missing"),
    ],
)
def test_a_folder_changed_by_hand_is_an_error(
    raw: Path, tmp_path: Path, change: Callable[[Path], object], words: str
) -> None:
    shutil.copytree(raw, tmp_path / "raw")
    change(tmp_path / "raw")
    with pytest.raises(UserError, match=rf"{words}.*(imagewright|make) data"):
        preprocess(tmp_path / "raw", tmp_path / "prepared", SETTINGS, 1)
