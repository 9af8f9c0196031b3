"""The options of every script in this folder: `--json FILE` writes the table, `--tiny` runs the script in seconds."""

import argparse
from pathlib import Path

TINY = "run everything once at the smallest sizes, in seconds, without data or network; the results mean nothing"


def parser(doc: str | None) -> argparse.ArgumentParser:
    """Returns a parser with a script's docstring as its help and the options that all scripts have."""
    made = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--json", type=whole_path, metavar="FILE", help="file that the table is written to, as JSON")
    made.add_argument("--tiny", action="store_true", help=TINY)
    return made


def whole_path(text: str) -> Path:
    """Returns an absolute path, since some scripts change their working directory."""
    return Path(text).resolve()


def parse(made: argparse.ArgumentParser, **smallest: object) -> argparse.Namespace:
    """Parses the command line; with `--tiny`, the values in `smallest` are the defaults."""
    given = made.parse_args()
    if given.tiny:
        made.set_defaults(**smallest)
        given = made.parse_args()
    return given
