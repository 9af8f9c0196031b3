"""What every script of this folder takes: `--json FILE` keeps the table, `--tiny` runs the script once in seconds."""

import argparse
from pathlib import Path

TINY = "run everything once at the smallest sizes, in seconds and without data or network; the figures mean nothing"


def parser(doc: str | None) -> argparse.ArgumentParser:
    """A parser with a script's docstring as its help and the options that all scripts have."""
    made = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--json", type=whole_path, metavar="FILE", help="where the table is kept")
    made.add_argument("--tiny", action="store_true", help=TINY)
    return made


def whole_path(text: str) -> Path:
    """An absolute path, since some scripts change their working directory."""
    return Path(text).resolve()


def parse(made: argparse.ArgumentParser, **smallest: object) -> argparse.Namespace:
    """The command line; with `--tiny`, an option that it does not name has its value in `smallest`."""
    given = made.parse_args()
    if given.tiny:
        made.set_defaults(**smallest)
        given = made.parse_args()
    return given
