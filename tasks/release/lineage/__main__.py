"""`imagewright lineage MODEL.onnx`: prints where an .onnx file came from, and checks that against git and DVC.

It prints what the file's metadata says; then what lineage.json says, from the folder of the file or, in a clone, from
the tag of its release; then the result of each check. Exit codes: 0, 1 when a check fails, 2 when the file or its
lineage cannot be read.
"""

import argparse
import sys
from pathlib import Path

from tasks.common.cli import run
from tasks.common.files import sha256_file
from tasks.release.lineage.checks import against_git, describes_file
from tasks.release.lineage.history import History
from tasks.release.lineage.reading import contract_lines, contract_of, find_lineage, lineage_lines, parse


def main() -> int:
    """Parses the arguments, prints the lineage, checks it and returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, metavar="MODEL.onnx")
    parser.add_argument("--repo", type=Path, default=Path(), help="a clone of the repository; default: this folder")
    given = parser.parse_args()
    contract, history = contract_of(given.file), History(given.repo)
    sha256 = sha256_file(given.file)
    for name, value in (*contract_lines(contract), ("sha256", sha256)):
        print(f"{name:<14} {value}")
    found = find_lineage(given.file, contract["model"], history)
    if found is None:
        print("\nno lineage: it is not beside the file, and no release in this clone has these bytes")
        return 0
    where, text = found
    lineage = parse(text, where)
    print(f"\nfrom {where}")
    for name, value in lineage_lines(lineage):
        print(f"{name:<14} {value}")
    checks = [describes_file(given.file.name, sha256, lineage)]
    if history.exists:
        checks += against_git(contract, lineage, text, history)
    print("", *checks, sep="\n")
    if not history.exists:
        print("not checked against git and DVC: run this in a clone of the repository, or name one with --repo")
    return 0 if all(check.good for check in checks) else 1


if __name__ == "__main__":
    run(lambda: sys.exit(main()))
