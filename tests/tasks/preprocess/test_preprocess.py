"""Preparing data/raw: splits, labels, and that the result depends on the images alone."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tasks.common.errors import UserError
from tasks.common.files import sha256_tree
from tasks.preprocess.dataset import Prepared
from tasks.preprocess.decoding import parallel_map
from tests.tasks.noise_folders import draw, draw_raw, noise, prepare


def _splits(prepared: Prepared) -> dict[bytes, str]:
    """Returns the split of every packed image, by its bytes."""
    names = ("train", "validation", "test")
    return {image.tobytes(): name for name in names for block in prepared.split(name).blocks(64) for image in block}


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """120 images without labels."""
    return draw_raw(tmp_path_factory.mktemp("data") / "raw")


def test_every_image_is_in_one_split_at_the_configured_shares(raw: Path, tmp_path: Path) -> None:
    prepared = prepare(raw, tmp_path / "prepared")
    counts = {name: split.count for name, split in prepared.manifest.splits.items()}
    assert set(_splits(prepared)) == {noise(28, 28, seed=seed).tobytes() for seed in range(120)}
    assert sum(counts.values()) == 120
    assert abs(counts["test"] - 24) <= 13  # three standard deviations of a binomial
    assert abs(counts["validation"] - 12) <= 10
    assert prepared.manifest.labels == []
    assert prepared.split("train").labels is None
    assert not prepared.manifest.official_splits


def test_mean_and_std_are_those_of_the_training_images(raw: Path, tmp_path: Path) -> None:
    prepared = prepare(raw, tmp_path / "prepared")
    images = prepared.split("train").gather(np.arange(len(prepared.split("train")))) / 255
    assert prepared.manifest.mean == pytest.approx([images.mean()], abs=1e-12)
    assert prepared.manifest.std == pytest.approx([images.std()], abs=1e-12)


def test_added_images_move_no_other_image_to_another_split(raw: Path, tmp_path: Path) -> None:
    shutil.copytree(raw, tmp_path / "more")
    draw(tmp_path / "more", 40, first=500)
    before, after = _splits(prepare(raw, tmp_path / "a")), _splits(prepare(tmp_path / "more", tmp_path / "b"))
    assert len(after) == 160
    assert {image: after[image] for image in before} == before


def test_duplicates_share_a_split(raw: Path, tmp_path: Path) -> None:
    shutil.copytree(raw, tmp_path / "twice")
    for path in raw.glob("*.png"):
        Image.open(path).save(tmp_path / "twice" / f"{path.stem}.bmp")  # another file with the same pixels
    prepared = prepare(tmp_path / "twice", tmp_path / "prepared")
    once = _splits(prepared)
    assert len(once) == 120
    for name, split in prepared.manifest.splits.items():
        assert split.count == 2 * sum(found == name for found in once.values())


def test_neither_folder_nor_workers_change_the_result(raw: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere" / "deep" / "raw"
    shutil.copytree(raw, elsewhere)
    prepare(raw, tmp_path / "a", workers=1)
    prepare(elsewhere, tmp_path / "b", workers=2)
    assert sha256_tree(tmp_path / "a") == sha256_tree(tmp_path / "b")


@pytest.mark.parametrize(("size", "color", "shape"), [(32, "rgb", (3, 32, 32)), (64, "grey", (1, 64, 64))])
def test_size_and_colour_are_as_configured(
    raw: Path, tmp_path: Path, size: int, color: str, shape: tuple[int, int, int]
) -> None:
    assert prepare(raw, tmp_path / "prepared", size=size, color=color).split("train").shape == shape


def test_class_folders_become_labels(tmp_path: Path) -> None:
    for index, name in enumerate(["dog", "cat", "2", "10"]):
        draw(tmp_path / "raw" / name, 30, first=100 * index)
    prepared = prepare(tmp_path / "raw", tmp_path / "prepared")
    labels = prepared.split("train").labels
    assert prepared.manifest.labels == ["2", "10", "cat", "dog"]
    assert labels is not None
    images = prepared.split("train").gather(np.arange(len(labels)))
    wanted = {noise(28, 28, seed=100 + seed).tobytes() for seed in range(30)}
    assert all((label == 2) == (image.tobytes() in wanted) for image, label in zip(images, labels, strict=True))
    assert prepared.manifest.splits["train"].per_label == np.bincount(labels, minlength=4).tolist()


def test_one_image_outside_of_the_class_folders_means_no_labels(tmp_path: Path) -> None:
    draw(tmp_path / "raw" / "cat", 60)
    draw(tmp_path / "raw" / "dog", 60, first=100)
    draw(tmp_path / "raw", 1, first=300)
    assert prepare(tmp_path / "raw", tmp_path / "prepared").manifest.labels == []


def test_official_splits_are_kept(tmp_path: Path) -> None:
    for split, first, count in (("train", 0, 80), ("test", 200, 30), ("val", 400, 10)):
        draw(tmp_path / "raw" / split / "cat", count, first)
        draw(tmp_path / "raw" / split / "dog", count, first + 100)
    prepared = prepare(tmp_path / "raw", tmp_path / "prepared")
    assert {name: split.count for name, split in prepared.manifest.splits.items()} == {
        "train": 160,
        "validation": 20,
        "test": 60,
    }
    assert prepared.manifest.labels == ["cat", "dog"]
    assert prepared.manifest.official_splits


def test_validation_is_taken_from_an_official_training_split(tmp_path: Path) -> None:
    draw(tmp_path / "raw" / "train", 100)
    draw(tmp_path / "raw" / "test", 10, first=200)
    splits = _splits(prepare(tmp_path / "raw", tmp_path / "prepared"))
    names = [splits[noise(28, 28, seed=seed).tobytes()] for seed in range(100)]
    assert set(names) == {"train", "validation"}
    assert list(splits.values()).count("test") == 10


def _slow_at_first(number: int) -> int:
    total = sum(range(2_000_000 if number == 0 else 1))
    return number + 0 * total


def _kill(number: int) -> int:
    os._exit(number)


def test_results_keep_their_order_when_a_later_job_ends_first() -> None:
    assert list(parallel_map(_slow_at_first, range(9), workers=2)) == list(range(9))


def test_a_killed_worker_is_an_error() -> None:
    with pytest.raises(UserError, match="memory was exhausted"):
        list(parallel_map(_kill, [1, 1], workers=2))
