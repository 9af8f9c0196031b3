"""Which split an image belongs to: the declared one, or one that follows from its content alone."""

import hashlib

from tasks.common.params import PreprocessSettings
from tasks.preprocess.dataset import SplitName
from tasks.preprocess.images import Bytes
from tasks.preprocess.listing import Listing

Bounds = list[tuple[SplitName, float]]


def declared_splits(listing: Listing) -> set[SplitName]:
    """The splits that come with the data."""
    declared = {file.official for file in listing.idx} | {file.official for file in listing.images}
    return {name for name in declared if name is not None}


def carved_bounds(declared: set[SplitName], settings: PreprocessSettings) -> Bounds:
    """The splits to be carved from the rest, each with the fraction below which an image belongs to it, ascending."""
    shares: Bounds = [("test", settings.test), ("validation", settings.validation)]
    bounds: Bounds = []
    for name, share in shares:
        if name not in declared:
            bounds.append((name, share + (bounds[-1][1] if bounds else 0)))
    return bounds


def split_of(image: Bytes, declared: SplitName | None, bounds: Bounds) -> SplitName:
    """The split of one image, uint8 [C, H, W].

    The first eight bytes of the SHA-256 of its values are a fraction of 1, so equal images meet in one split, and
    images added later move none.
    """
    if declared in ("validation", "test"):
        return declared
    fraction = int.from_bytes(hashlib.sha256(image.tobytes()).digest()[:8], "big") / 2**64
    return next((name for name, bound in bounds if fraction < bound), "train")
