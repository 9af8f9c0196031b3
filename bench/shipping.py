"""Measures how long it takes to get and verify a release: `python bench/shipping.py [REPO] [--model gan]`.

Without REPO, a temporary clone of the last commit trains briefly on `digits` and releases, in some minutes; its DVC
remote is a folder. From an empty folder, with the repository's address alone, it runs `dvc artifacts get`, makes a
virtual environment with numpy and onnxruntime only, and runs verify.py in it. Then it changes one byte of the release
at a time, each file in turn, at a random place to a random other value; this project's own verify.py must find every
change. pip gets the two libraries from where it is configured to.
"""

import argparse
import contextlib
import io
import random
import subprocess
import sys
import tempfile
import time
from itertools import cycle
from pathlib import Path

from arguments import parse, parser
from checkouts import ROOT, cloned, shorten
from rows import Row, at_least, at_most, publish
from standins import bundled, release

sys.path.insert(0, str(ROOT))

from tasks.bundle.verify import verify_files

NEEDED = ["numpy", "onnxruntime"]
WITHOUT_PIP = ["--without-pip"]
SHARE = """
import pathlib, sysconfig
[packages] = pathlib.Path("venv").glob("lib/*/site-packages")
(packages / "lent.pth").write_text(sysconfig.get_path("purelib"))
"""  # makes this environment's packages importable in the new one, so that nothing is downloaded
MOST_SECONDS, MOST_CHECK_SECONDS = 120, 60


def main() -> None:
    """Measures, prints a table and writes the JSON."""
    made = parser(__doc__)
    made.add_argument("repo", nargs="?", help="address or folder of a repository that has a release")
    made.add_argument("--model", choices=["gan", "vae"], default="gan")
    made.add_argument("--stage", default="live")
    made.add_argument("--key", type=Path, help="the publisher's public key, where the release is signed")
    made.add_argument("--trials", type=int, default=200)
    made.add_argument("--seed", type=int, default=0)
    given = parse(made, trials=3)
    if given.repo:
        rows = measure(given.repo, given)
    elif given.tiny:
        with bundled() as clone:
            release(clone)
            rows = measure(str(clone.path), given)
    else:
        with cloned() as [clone]:
            shorten(clone, "digits")
            clone.must("-m", "flows", "retrain", "--models", given.model)
            rows = measure(str(clone.path), given)
    publish(rows, given.json)
    sys.exit(not given.tiny and any(row.reached is False for row in rows))


def measure(repo: str, given: argparse.Namespace) -> list[Row]:
    """Gets the release of a repository, verifies it in a new environment, and changes its bytes."""
    with tempfile.TemporaryDirectory() as name:
        empty = Path(name)
        get = [sys.executable, "-m", "dvc", "artifacts", "get", repo, given.model, "--stage", given.stage]
        seconds = {"dvc artifacts get": timed(get, empty)}
        seconds["new environment"] = timed([sys.executable, "-m", "venv", "venv", *WITHOUT_PIP * given.tiny], empty)
        python = next(path for path in empty.glob("venv/*/python*") if path.stem == "python")
        install = [sys.executable, "-c", SHARE] if given.tiny else [python, "-m", "pip", "install", "-q", *NEEDED]
        seconds["numpy and onnxruntime"] = timed(install, empty)
        key = ["--key", given.key.resolve()] if given.key else []
        seconds["verify.py"] = timed([python, "verify.py", *key], empty / given.model)
        found = changes_found(empty / given.model, given.trials, given.seed)
    rows = [Row(what, value, "s") for what, value in seconds.items()]
    rows.append(at_most("total", sum(seconds.values()), MOST_SECONDS, "s"))
    rows.append(at_most("verify.py alone", seconds["verify.py"], MOST_CHECK_SECONDS, "s"))
    rows.append(at_least(f"changed bytes found, of {given.trials}", found, given.trials))
    return rows


def timed(command: list[object], folder: Path) -> float:
    """Returns the seconds of a command; ends the measurement with its output if it fails."""
    start = time.perf_counter()
    done = subprocess.run([str(part) for part in command], cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))} failed:\n{done.stdout}{done.stderr}")
    return time.perf_counter() - start


def changes_found(release: Path, trials: int, seed: int) -> int:
    """Counts the trials in which a changed byte was found; restores the file after each."""
    rng, found = random.Random(seed), 0
    files = sorted(path for path in release.rglob("*") if path.is_file())
    for _, path in zip(range(trials), cycle(files), strict=False):
        whole = path.read_bytes()
        place = rng.randrange(len(whole))
        path.write_bytes(whole[:place] + bytes([whole[place] ^ rng.randrange(1, 256)]) + whole[place + 1 :])
        with contextlib.redirect_stdout(io.StringIO()):
            found += not verify_files(release)
        path.write_bytes(whole)
    return found


if __name__ == "__main__":
    main()
