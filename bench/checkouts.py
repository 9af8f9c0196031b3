"""A temporary clone of the project for measurements that run its stages, so that the checkout itself stays as it is."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ruamel.yaml import YAML

ROOT = Path(__file__).parents[1]
SHORT = {  # trainings of moments, and a gate that lets what they make through; a judge of moments fails its own checks
    "train_gan.stop.n_images": 64_000,
    "train_vae.stop.n_images": 64_000,
    "gate.limits.fd_relative": 10.0,
    "gate.limits.precision": 0.0,
    "gate.limits.coverage": 0.0,
    "gate.limits.label_share": 0.0,
}


class Checkout:
    """A folder that holds the project as it was last committed; commands run in it with this interpreter."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    def start(self, *arguments: str, **options: Any) -> "subprocess.Popen[str]":
        """Starts `python ARGUMENTS`."""
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        environment = os.environ | {"PATH": path, "DVC_NO_ANALYTICS": "1"}
        return subprocess.Popen([sys.executable, *arguments], cwd=self.path, env=environment, text=True, **options)

    def python(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Runs `python ARGUMENTS` to its end with its output captured; the exit code is not checked."""
        with self.start(*arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            out, err = process.communicate()
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)

    def must(self, *arguments: str) -> str:
        """Runs `python ARGUMENTS` and returns what it printed; ends this process with its complaint if it fails."""
        done = self.python(*arguments)
        if done.returncode:
            sys.exit(f"error: `python {' '.join(arguments)}` failed: {done.stderr.strip()}")
        return done.stdout

    def git(self, *arguments: str) -> None:
        """Runs `git ARGUMENTS`."""
        subprocess.run(["git", *arguments], cwd=self.path, check=True)

    def set_params(self, changes: Mapping[str, object]) -> None:
        """Writes values into params.yaml by dotted key."""
        yaml, path = YAML(), self / "params.yaml"
        values = yaml.load(path)
        for name, value in changes.items():
            *sections, key = name.split(".")
            section = values
            for part in sections:
                section = section[part]
            section[key] = value
        yaml.dump(values, path)


def shorten(clone: Checkout, source: str) -> None:
    """Makes a clone one whose flows take minutes: `source` as data, SHORT as parameters, committed, a DVC remote."""
    clone.set_params(SHORT)
    clone.must("-m", "tasks.ingest", source)
    clone.must("-m", "dvc", "remote", "add", "-d", "storage", str(clone / ".work/remote"))
    clone.git("config", "user.name", "Bench")
    clone.git("config", "user.email", "bench@example.com")
    clone.git("add", "--all")
    clone.git("commit", "-qm", "Short")


@contextmanager
def cloned(count: int = 1) -> Iterator[list[Checkout]]:
    """So many clones of the last commit, deleted at the end; each has its own locks, so that trainings do not wait.

    They know no remote, or what a flow releases in one would be pushed to the checkout.
    """
    with TemporaryDirectory(prefix="imagewright-") as place:
        clones = [Checkout(Path(place) / str(number)) for number in range(count)]
        for clone in clones:
            subprocess.run(["git", "clone", "-q", str(ROOT), str(clone.path)], check=True)
            clone.git("remote", "remove", "origin")
        yield clones
