"""Generates a grid of images with a bundle, or shows a VAE's reconstructions of your pictures."""

import argparse
import sys
from pathlib import Path

import numpy as np
from bundle import LARGEST, Bundle, BundleError, Floats
from pictures import read_images, to_grid


def main() -> int:
    """Writes the picture; returns 0, or 1 with an error message."""
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
    """Returns `count` images; the first is from `seed`, each next one from the next seed."""
    if not 1 <= asked.count <= LARGEST:
        raise BundleError(f"{asked.count:,} images at once were asked for; ask for 1 to {LARGEST:,}")
    noise, labels = bundle.sample_noise(range(asked.seed, asked.seed + asked.count))
    if asked.label is not None:
        labels = np.full(asked.count, bundle.label(asked.label), np.int64)
    return bundle.generate(noise, labels)


def reconstruct(bundle: Bundle, paths: list[Path]) -> Floats:
    """Returns each picture followed by its reconstruction."""
    images = read_images(paths, bundle.shape)
    return np.stack([images, bundle.reconstruct(images)], axis=1).reshape(-1, *bundle.shape)


def natural(text: str) -> int:
    """Parses a non-negative whole number for argparse."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 0 on")
    return int(text)


def parse() -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path, help="folder with contract.json, such as data/bundle/gan")
    parser.add_argument(
        "--seed", type=natural, default=0, help="seed of the first image; each next image has the next seed"
    )
    parser.add_argument("--count", type=natural, default=16, help="number of images")
    parser.add_argument("--label", help="label by name or number, for a conditional model")
    parser.add_argument("--columns", type=int, choices=range(1, 65), metavar="1-64", default=8)
    parser.add_argument("--out", type=Path, default=Path("samples.png"), help="the picture to write")
    parser.add_argument(
        "--reconstruct", type=Path, nargs="+", metavar="PICTURE", help="pictures for a VAE to reconstruct"
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
