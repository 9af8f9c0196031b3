"""`imagewright lineage MODEL.onnx`: prints where an .onnx file came from, and checks that against git and DVC.

It prints what the file's metadata says; then what lineage.json says, from the folder of the file or, in a clone, from
the tag of its release; then the result of each check. Exit codes: 0, 1 when a check fails, 2 when the file or its
lineage cannot be read.
"""

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path

from tasks.common.cli import run
from tasks.common.files import sha256_file
from tasks.release.lineage.checks import against_git, bound
from tasks.release.lineage.history import History
from tasks.release.lineage.tell import Line, contract_of, find_lineage, parse, told_by_file, told_by_lineage

WIDTH = 14


def main() -> int:
    """Parses the arguments, prints the lineage, checks it and returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, metavar="MODEL.onnx")
    parser.add_argument("--repo", type=Path, default=Path(), help="a clone of the repository; default: this folder")
    given = parser.parse_args()
    contract, history = contract_of(given.file), History(given.repo)
    show([*told_by_file(contract), ("sha256", sha256_file(given.file))])
    found = find_lineage(given.file, contract["model"], history)
    if found is None:
        print("\nno lineage: it is not beside the file, and no release that is known here has these bytes")
        return 0
    where, text = found
    lineage = parse(text, where)
    print(f"\nfrom {where}")
    show(told_by_lineage(lineage))
    checks = [bound(given.file.name, sha256_file(given.file), lineage)]
    if history.exists:
        checks += against_git(contract, lineage, text, history)
    print("", *checks, sep="\n")
    if not history.exists:
        print("not checked against git and DVC: run this in a clone of the repository, or name one with --repo")
    return 0 if all(check.good for check in checks) else 1


def show(lines: Iterable[Line]) -> None:
    """Prints names and what they stand for in two columns."""
    for name, words in lines:
        print(f"{name:<{WIDTH}} {words}")


if __name__ == "__main__":
    run(lambda: sys.exit(main()))
