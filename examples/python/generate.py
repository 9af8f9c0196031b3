"""Draws a sheet of images from a bundle, or shows what a VAE makes of one's own pictures."""

import argparse
import sys
from pathlib import Path

import numpy as np
from bundle import LARGEST, Bundle, BundleError, Floats
from pictures import read_images, to_grid


def main() -> int:
    """Writes the picture; exit code 0, or 1 with a sentence that says what was wrong."""
    asked = parse()
    try:
        bundle = Bundle(asked.bundle)
        images = reconstruct(bundle, asked.reconstruct) if asked.reconstruct else generate(bundle, asked)
        to_grid(images, 2 if asked.reconstruct else asked.columns).save(asked.out)
    except (BundleError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(asked.out)
    return 0


def generate(bundle: Bundle, asked: argparse.Namespace) -> Floats:
    """`count` images, the first from `seed`, the next from the seed after it."""
    if not 1 <= asked.count <= LARGEST:
        raise BundleError(f"{asked.count:,} images at once were asked for; ask for 1 to {LARGEST:,}")
    noise, labels = bundle.draw(range(asked.seed, asked.seed + asked.count))
    if asked.label is not None:
        labels = np.full(asked.count, bundle.label(asked.label), np.int64)
    return bundle.generate(noise, labels)


def reconstruct(bundle: Bundle, paths: list[Path]) -> Floats:
    """Each picture with what the VAE makes of it beside it."""
    images = read_images(paths, bundle.shape)
    return np.stack([images, bundle.reconstruct(images)], axis=1).reshape(-1, *bundle.shape)


def natural(text: str) -> int:
    """A whole number that is not negative, for argparse."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 0 on")
    return int(text)


def parse() -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path, help="folder with contract.json, such as data/bundle/gan")
    parser.add_argument("--seed", type=natural, default=0, help="of the first image; the next has the seed after it")
    parser.add_argument("--count", type=natural, default=16, help="number of images")
    parser.add_argument("--label", help="what to draw, by name or number, where the model takes a label")
    parser.add_argument("--columns", type=int, choices=range(1, 65), metavar="1-64", default=8)
    parser.add_argument("--out", type=Path, default=Path("samples.png"), help="the picture to write")
    parser.add_argument("--reconstruct", type=Path, nargs="+", metavar="PICTURE", help="pictures for a VAE to rebuild")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
