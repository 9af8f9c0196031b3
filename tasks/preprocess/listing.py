"""Lists the content of data/raw: idx files with their labels, and all other files, which should be images."""

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from tasks.common.errors import UserError
from tasks.common.params import PreprocessSettings
from tasks.ingest.idx import idx_shape
from tasks.ingest.raw import RawManifest, is_junk
from tasks.preprocess.dataset import SplitName

OFFICIAL: dict[str, SplitName] = {
    "train": "train",
    "test": "test",
    "t10k": "test",
    "val": "validation",
    "validation": "validation",
}
IDX = re.compile(r"-idx[13]-ubyte(\.gz)?$")


@dataclass(frozen=True)
class ImageFile:
    """A file of one image, its path relative to data/raw; its label is the name of the class folder."""

    name: str
    official: SplitName | None
    label: str | None


@dataclass(frozen=True)
class IdxFile:
    """A file of many images and the file of their labels, paths relative to data/raw; `shape` is (N, H, W)."""

    name: str
    labels: str | None
    official: SplitName | None
    shape: tuple[int, int, int]


@dataclass(frozen=True)
class Listing:
    """All files in the order in which their images are packed."""

    idx: list[IdxFile]
    images: list[ImageFile]

    def __len__(self) -> int:
        """Returns the number of images, readable or not."""
        return sum(file.shape[0] for file in self.idx) + len(self.images)


def list_raw(folder: Path, manifest: RawManifest, settings: PreprocessSettings) -> Listing:
    """Separates the idx files of data/raw from the others; raises UserError for idx files that cannot be used."""
    names = sorted(name for name in manifest.files if not is_junk(name))
    found = {name for name in names if IDX.search(name)}
    idx = {name for name in found if not name.endswith(".gz") or name.removesuffix(".gz") not in found}
    return Listing(
        [_idx_file(folder, name, idx, settings) for name in sorted(idx) if "-idx3-" in name],
        [_image_file(name) for name in names if name not in found],
    )


def _idx_file(folder: Path, name: str, names: set[str], settings: PreprocessSettings) -> IdxFile:
    count, height, width = idx_shape(folder / name, axes=3)
    if min(height, width) < settings.min_side or height * width > settings.max_pixels:
        raise UserError(
            f"the images of {folder / name} have {width} x {height} pixels, which preprocess.min_side or "
            "preprocess.max_pixels in params.yaml rejects"
        )
    plain = name.removesuffix(".gz").replace("images", "labels").replace("-idx3-", "-idx1-")
    labels = next((other for other in (plain, f"{plain}.gz") if other in names), None)
    if labels is not None and idx_shape(folder / labels, axes=1) != (count,):
        raise UserError(f"{folder / labels} does not have a label for each of the {count:,} images in {name}")
    return IdxFile(name, labels, _idx_split(name), (count, height, width))


def _image_file(name: str) -> ImageFile:
    *folders, _ = PurePosixPath(name).parts
    official = OFFICIAL.get(folders[0].lower()) if folders else None
    classes = folders if official is None else folders[1:]
    return ImageFile(name, official, classes[0] if classes else None)


def _idx_split(name: str) -> SplitName | None:
    """Returns the split that the top folder or else the start of the file's name declares."""
    *folders, file = PurePosixPath(name).parts
    named = OFFICIAL.get(folders[0].lower()) if folders else None
    return named or OFFICIAL.get(file.split("-")[0].lower())
