"""`imagewright data [SOURCE] [--from FOLDER] [--accept]` fills data/raw and pins it with DVC."""

import argparse
from pathlib import Path

from tasks.common.cli import run
from tasks.ingest.fill import DATA_SETS, accept, ingest


def main() -> None:
    """Reads the command line and fills data/raw."""
    purpose = "Fills data/raw with images and pins it with DVC. Without SOURCE: restores what data/raw.dvc pins."
    parser = argparse.ArgumentParser(description=purpose)
    names = ", ".join(DATA_SETS)
    parser.add_argument("source", nargs="?", metavar="SOURCE", help=f"{names}, or a folder, zip or tar of images")
    parser.add_argument("--from", dest="local", type=Path, metavar="FOLDER", help="a folder with Fashion-MNIST's files")
    parser.add_argument("--accept", action="store_true", help="pin data/raw as it is now, after a change by hand")
    arguments = parser.parse_args()
    if arguments.accept and (arguments.source or arguments.local):
        parser.error("--accept pins data/raw as it is and goes with no other argument")
    run(accept if arguments.accept else lambda: ingest(arguments.source, arguments.local))


if __name__ == "__main__":
    main()
