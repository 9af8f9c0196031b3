"""Temporary clones of the project for measurements that run its stages, so that the checkout stays unchanged."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ruamel.yaml import YAML

ROOT = Path(__file__).parents[1]
SHORT = {  # short trainings, and a gate that passes their models; an evaluator trained as briefly fails its own checks
    "train_gan.stop.n_images": 64_000,
    "train_vae.stop.n_images": 64_000,
    "gate.limits.fd_relative": 10.0,
    "gate.limits.precision": 0.0,
    "gate.limits.coverage": 0.0,
    "gate.limits.label_share": 0.0,
}
LEARNERS = ("reference", "reference_second", "train_gan", "train_vae")
STOP = {"stop.n_images": 1280, "log_every": 640, "probe_every": 640, "checkpoint_every": 640}
TINY: dict[str, object] = {  # --tiny sets these over all other values
    "threads": 1,
    **{f"{learner}.{name}": value for learner in LEARNERS for name, value in ({"channels": 4} | STOP).items()},
    "reference.channels": 8,
    "reference.batch": 64,
    "reference.stop.n_images": 12_800,  # on `digits` an evaluator trained for less fails its own checks
    "train_gan.channels": 8,
    "train_gan.batch": 32,
    "train_gan.stop.n_images": 5120,  # after 1280 it generates a single label; from 6400 on diagnostics may stop it
    "train_gan.ema_half_life": 500,
    "train_vae.prior_layers": 2,
    "train_vae.prior_width": 8,
    "train_vae.prior_steps": 10,
    "export.variants": [],
    "evaluate.n_images": 200,
    "evaluate.subsets": 2,
    "evaluate.subset_size": 50,
    "evaluate.iwae_images": 2,
    "evaluate.iwae_samples": 10,
    "evaluate.accuracy_epochs": 1,
    "bundle.golden": 2,
    "gate.bootstrap_samples": 100,
}
IN_ONE = """
import runpy, sys
sys.path.insert(0, "")
for command in sys.argv[1:]:
    sys.argv = command.split()
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""  # runs stages as modules of one process, which imports torch once


class Checkout:
    """A folder that holds the project as it was last committed; commands run in it with this interpreter.

    A tiny one always has the smallest sizes, and its data are scikit-learn's digits.
    """

    def __init__(self, path: Path, tiny: bool = False) -> None:
        self.path, self.tiny = path, tiny

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
        """Runs `python ARGUMENTS` and returns its stdout; ends this process with its stderr if it fails."""
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
        for name, value in (dict(changes) | (TINY if self.tiny else {})).items():
            *sections, key = name.split(".")
            section = values
            for part in sections:
                section = section[part]
            section[key] = value
        yaml.dump(values, path)

    def ingest(self, source: str, folder: Path | None = None) -> None:
        """Ingests a data set by name, from the files in `folder` where one is given."""
        given = ["--from", str(folder.resolve())] if folder else []
        self.must("-m", "tasks.ingest", *(["digits"] if self.tiny else [source, *given]))

    def make(self, *stages: str) -> None:
        """Runs stages of dvc.yaml and their dependencies with DVC; a tiny checkout runs only these, in order."""
        if self.tiny:
            stages_of = YAML(typ="safe").load(self / "dvc.yaml")["stages"]
            self.run_stages(*(stages_of[name]["cmd"].removeprefix("python -m ") for name in stages))
        else:
            self.must("-m", "dvc", "--wait-for-lock", "repro", *stages)

    def run_stages(self, *commands: str) -> None:
        """Runs stages' commands, without `python -m`, each as its own process; a tiny checkout all in one."""
        if self.tiny:
            self.must("-c", IN_ONE, *commands)
            return
        for command in commands:
            self.must("-m", *command.split())


def shorten(clone: Checkout, source: str) -> None:
    """Sets a clone up so that flows take minutes: ingests `source`, sets SHORT, adds a DVC remote and commits."""
    clone.set_params(SHORT)
    clone.ingest(source)
    clone.must("-m", "dvc", "remote", "add", "-d", "storage", str(clone / ".work/remote"))
    commit(clone, "Short")


def commit(clone: Checkout, subject: str) -> None:
    """Commits all that git does not ignore."""
    clone.git("config", "user.name", "Bench")
    clone.git("config", "user.email", "bench@example.com")
    clone.git("add", "--all")
    clone.git("commit", "-qm", subject)


@contextmanager
def cloned(count: int = 1, tiny: bool = False) -> Iterator[list[Checkout]]:
    """Yields `count` clones of the last commit and deletes them at the end.

    Each clone has its own locks, so that trainings do not wait for each other, and no git remote, since flows would
    push releases to the checkout. Tiny clones hold the uncommitted files too, so that tests see what will be committed.
    """
    with TemporaryDirectory(prefix="imagewright-") as place:
        clones = [Checkout(Path(place) / str(number), tiny) for number in range(count)]
        for clone in clones:
            subprocess.run(["git", "clone", "-q", str(ROOT), str(clone.path)], check=True)
            clone.git("remote", "remove", "origin")
            if tiny:
                copy_working_tree(clone)
                clone.set_params({})
                commit(clone, "Tiny")
        yield clones


def copy_working_tree(clone: Checkout) -> None:
    """Copies the checkout's files over a clone, untracked ones included."""
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\0")
    for name in filter(None, names):
        (clone / name).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_file():
            shutil.copy2(ROOT / name, clone / name)
        else:
            (clone / name).unlink(missing_ok=True)
