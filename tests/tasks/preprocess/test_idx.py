"""idx files: values stay unchanged across blocks and shards, and errors name a damaged file."""

import gzip
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tasks.common.errors import UserError
from tasks.common.files import sha256_file, sha256_tree
from tasks.ingest.idx import write_idx
from tasks.ingest.sources import digits
from tests.tasks.noise_folders import noise, prepare


def _write_idx_set(folder: Path, save: Callable[[Path, np.ndarray], None]) -> None:
    folder.mkdir()
    for split, count in (("train", 200), ("t10k", 20)):
        images = noise(count, 28, 28, seed=count)
        save(folder / f"{split}-images-idx3-ubyte", images)
        save(folder / f"{split}-labels-idx1-ubyte", np.arange(count).astype(np.uint8) % 3)


def _write_gz(path: Path, values: np.ndarray) -> None:
    write_idx(path, values)
    path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()


def test_idx_images_stay_unchanged_and_in_order(tmp_path: Path) -> None:
    _write_idx_set(tmp_path / "raw", write_idx)
    test = prepare(tmp_path / "raw", tmp_path / "prepared", labels=["no", "yes", "maybe"]).split("test")
    np.testing.assert_array_equal(test.gather(np.arange(20))[:, 0], noise(20, 28, 28, seed=20))
    assert test.labels is not None
    np.testing.assert_array_equal(test.labels, np.arange(20) % 3)


def test_compressed_idx_files_give_the_same_and_are_ignored_beside_a_plain_file(tmp_path: Path) -> None:
    _write_idx_set(tmp_path / "plain", write_idx)
    _write_idx_set(tmp_path / "gz", _write_gz)
    shutil.copytree(tmp_path / "gz", tmp_path / "both")
    shutil.copytree(tmp_path / "plain", tmp_path / "both", dirs_exist_ok=True)
    trees = []
    for name in ("plain", "gz", "both"):
        prepare(tmp_path / name, tmp_path / f"{name}.prepared", labels=["no", "yes", "maybe"])
        trees.append(sha256_tree(tmp_path / f"{name}.prepared"))
    assert trees[0] == trees[1] == trees[2]


def test_digits_are_enlarged_and_labelled(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    prepared = prepare(tmp_path / "raw", tmp_path / "prepared", labels=digits(tmp_path / "raw"), color="rgb")
    assert sum(split.count for split in prepared.manifest.splits.values()) == 1797
    assert prepared.manifest.labels == [str(digit) for digit in range(10)]
    assert prepared.split("train").shape == (3, 28, 28)
    assert 0.2 < prepared.manifest.mean[0] < 0.4


@pytest.mark.parametrize("damage", ["short", "long", "labels", "side", "gz"])
def test_a_damaged_idx_file_is_an_error_that_names_it(tmp_path: Path, damage: str) -> None:
    raw = tmp_path / "raw"
    _write_idx_set(raw, _write_gz if damage == "gz" else write_idx)
    images = raw / f"train-images-idx3-ubyte{'.gz' * (damage == 'gz')}"
    content = images.read_bytes()
    if damage in ("short", "gz"):
        images.write_bytes(content[:-100])
    elif damage == "long":
        images.write_bytes(content + b"!")
    elif damage == "labels":
        write_idx(raw / "train-labels-idx1-ubyte", np.zeros(3, np.uint8))
    else:
        write_idx(images, noise(200, 28, 4, seed=0))
    with pytest.raises(UserError, match=r"train-(images|labels)-idx"):
        prepare(raw, tmp_path / "prepared")
    assert list(tmp_path.iterdir()) == [raw]


def test_labels_stay_with_their_images_across_blocks_and_shards(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    images = noise(5000, 28, 28, seed=1)  # more than a block and more than a shard
    write_idx(tmp_path / "raw" / "images-idx3-ubyte", images)
    write_idx(tmp_path / "raw" / "labels-idx1-ubyte", images[:, 0, 0] % 7)
    prepared = prepare(tmp_path / "raw", tmp_path / "prepared")
    found = []
    for name in ("train", "validation", "test"):
        split = prepared.split(name)
        packed = split.gather(np.arange(len(split)))
        np.testing.assert_array_equal(split.labels, packed[:, 0, 0, 0] % 7)
        found += [image.tobytes() for image in packed]
    assert set(found) == {image.tobytes() for image in images}
    assert len(found) == 5000


def test_shards_have_the_listed_hashes_and_at_most_the_configured_size(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    write_idx(tmp_path / "raw" / "images-idx3-ubyte", noise(3000, 28, 28, seed=1))
    record = prepare(tmp_path / "raw", tmp_path / "prepared").manifest.splits["train"]
    assert len(record.shards) == 2
    assert sum(shard.count for shard in record.shards) == record.count
    for shard in record.shards:
        assert (tmp_path / "prepared" / shard.file).stat().st_size <= 2**20
        assert sha256_file(tmp_path / "prepared" / shard.file) == shard.sha256
