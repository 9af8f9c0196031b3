"""A bundle for tiny measurements: a small network with random weights instead of a finished run."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from shutil import copytree

from checkouts import ROOT, Checkout, cloned

sys.path.insert(0, str(ROOT))

from tests.tasks.bundle.exported import fill

BUNDLE, RELEASE = "data/bundle/gan", "data/release/gan"


@contextmanager
def bundled() -> Iterator[Checkout]:
    """Yields a temporary checkout that has a GAN's bundle."""
    with cloned(tiny=True) as [clone]:
        fill(clone.path)
        clone.must("-m", "tasks.bundle", "gan")
        yield clone


def release(clone: Checkout) -> None:
    """Makes that bundle the live release of its repository, with a folder as the DVC remote."""
    clone.must("-m", "dvc", "remote", "add", "-d", "storage", str(clone / ".work/remote"))
    copytree(clone / BUNDLE, clone / RELEASE)
    clone.must("-m", "dvc", "add", "--quiet", RELEASE)
    clone.must("-m", "dvc", "push")
    clone.git("add", "--all")
    clone.git("add", "--force", f"{RELEASE}.dvc")
    clone.git("commit", "-qm", "Release")
    for tag in ("gan@v0.1.0", "gan#live#1"):
        clone.git("tag", "--annotate", tag, "--message", "Stand-in")
