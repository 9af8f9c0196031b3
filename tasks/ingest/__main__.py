"""`python -m tasks.ingest [SOURCE] [--from FOLDER] [--accept]`: fills data/raw and pins it with DVC."""

import argparse
from pathlib import Path

from tasks.common.cli import run
from tasks.ingest.fill import DATA_SETS, accept, ingest


def main() -> None:
    """Reads the command line and fills data/raw."""
    parser = argparse.ArgumentParser(
        prog="python -m tasks.ingest",
        description="Fills data/raw with images and pins it with DVC. Without SOURCE: with what data/raw.dvc pins.",
    )
    names = ", ".join(DATA_SETS)
    parser.add_argument("source", nargs="?", metavar="SOURCE", help=f"{names}, or a folder, zip or tar of images")
    parser.add_argument("--from", dest="given", type=Path, metavar="FOLDER", help="a folder that has Fashion-MNIST")
    parser.add_argument("--accept", action="store_true", help="take in data/raw as it was changed by hand")
    asked = parser.parse_args()
    if asked.accept and (asked.source or asked.given):
        parser.error("--accept takes in data/raw as it stands; give it alone")
    run(accept if asked.accept else lambda: ingest(asked.source, asked.given))


if __name__ == "__main__":
    main()
