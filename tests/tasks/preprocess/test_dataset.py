"""Reading data/prepared: any order across shards, and errors that name a damaged file."""

from pathlib import Path

import numpy as np
import pytest

import tasks.preprocess.dataset
from tasks.common.errors import UserError
from tasks.common.files import sha256_file, write_json
from tasks.preprocess.dataset import LabelsRecord, Manifest, ShardRecord, SplitName, SplitRecord, open_prepared

COUNTS = (3, 5, 2)
IMAGES = np.random.default_rng(0).integers(0, 256, (sum(COUNTS), 3, 4, 4)).astype(np.uint8)
LABELS = np.arange(sum(COUNTS)) % 2


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small data/prepared whose splits have three shards of unequal size."""
    splits: dict[SplitName, SplitRecord] = {name: _write(tmp_path, name) for name in ("train", "validation", "test")}
    manifest = Manifest(
        source="folder", size=4, channels=3, color="rgb", labels=["a", "b"], official_splits=False, splits=splits,
        mean=[0.5] * 3, std=[0.3] * 3, rejected={}, quarantine="0",
    )  # fmt: skip
    write_json(tmp_path / "manifest.json", manifest.model_dump())
    return tmp_path


def _write(folder: Path, name: SplitName) -> SplitRecord:
    (folder / name).mkdir()
    shards, start = [], 0
    for number, count in enumerate(COUNTS):
        file = f"{name}/images-{number:05d}.npy"
        np.save(folder / file, IMAGES[start : start + count])
        shards.append(ShardRecord(file=file, count=count, sha256=sha256_file(folder / file)))
        start += count
    np.save(folder / name / "labels.npy", LABELS)
    labels = LabelsRecord(file=f"{name}/labels.npy", sha256=sha256_file(folder / name / "labels.npy"))
    return SplitRecord(count=start, per_label=[5, 5], shards=shards, labels=labels)


@pytest.mark.parametrize("mapped", [tasks.preprocess.dataset.MAX_MAPPED, 0])
def test_gather_allows_any_order_across_shards(folder: Path, mapped: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks.preprocess.dataset, "MAX_MAPPED", mapped)
    split = open_prepared(folder).split("train")
    rows = [9, 0, 3, 3, 2, 8, 7]
    assert len(split) == 10
    assert split.shape == (3, 4, 4)
    np.testing.assert_array_equal(split.gather(rows), IMAGES[rows])
    assert split.gather([]).shape == (0, 3, 4, 4)


@pytest.mark.parametrize("size", [1, 4, 100])
def test_blocks_contain_all_images_in_order(folder: Path, size: int) -> None:
    blocks = list(open_prepared(folder).split("test").blocks(size))
    assert max(len(block) for block in blocks) <= size
    np.testing.assert_array_equal(np.concatenate(blocks), IMAGES)


def test_labels_are_int64(folder: Path) -> None:
    labels = open_prepared(folder).split("validation").labels
    assert labels is not None
    assert labels.dtype == np.int64
    np.testing.assert_array_equal(labels, LABELS)


@pytest.mark.parametrize("index", [-1, 10])
def test_an_index_outside_is_an_error(folder: Path, index: int) -> None:
    with pytest.raises(IndexError, match="of 10"):
        open_prepared(folder).split("train").gather([0, index])


def test_the_hash_is_the_manifests(folder: Path) -> None:
    assert open_prepared(folder).hash == sha256_file(folder / "manifest.json")


def test_the_error_for_a_missing_folder_names_the_stage(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="dvc repro preprocess"):
        open_prepared(tmp_path / "nothing")


def test_a_damaged_manifest_is_an_error(folder: Path) -> None:
    (folder / "manifest.json").write_text('{"size": 4')
    with pytest.raises(UserError, match=r"manifest\.json is damaged"):
        open_prepared(folder)


def test_a_shard_that_is_cut_short_is_an_error(folder: Path) -> None:
    shard = folder / "train" / "images-00001.npy"
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(UserError, match=r"images-00001\.npy is missing or cut short"):
        open_prepared(folder).split("train")


def test_a_shard_with_fewer_images_than_listed_is_an_error(folder: Path) -> None:
    np.save(folder / "train" / "images-00001.npy", IMAGES[:4])
    with pytest.raises(UserError, match=r"images-00001\.npy holds"):
        open_prepared(folder).split("train")
