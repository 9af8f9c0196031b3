"""A server whose `retrain` trains a GAN on digits in seconds; the bundle and the gate are stubs."""

import hashlib
import shutil
from collections.abc import Callable
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

import psutil
from ruamel.yaml import YAML

from tests.flows.conftest import until
from tests.flows.released import GATE, REPORT
from tests.flows.server.running_server import RunningServer

SMALL = {
    "threads": 1,
    "train_gan__channels": 4,
    "train_gan__stop__n_images": 12_800,
    "train_gan__log_every": 320,
    "train_gan__checkpoint_every": 640,
}
BUNDLE = """
import hashlib, json, pathlib
weights = pathlib.Path("data/weights/gan/weights.safetensors").read_bytes()
folder = pathlib.Path("data/bundle/gan")
folder.mkdir(parents=True)
seed = 13 if sum(1 for _ in pathlib.Path("data/raw").rglob("*.png")) % 3 == 2 else 0
contract = {"models": {"gan.onnx": {"format": 2, "inputs": [64], "labels": []}}, "seed": seed}
(folder / "contract.json").write_text(json.dumps(contract))
(folder / "gan.onnx").write_text(hashlib.sha256(weights).hexdigest())
pathlib.Path("data/metrics").mkdir(exist_ok=True)
pathlib.Path("data/metrics/gan.json").write_text(json.dumps({"fd_relative": 0.5}))
"""
STAGES = ("preprocess", "train_gan")
MADE = ("checkpoints", "conclusions", "gate", "live", "reports", "remote")


def refused(images: int) -> bool:
    """Whether the stub gate refuses a model trained on so many images, as it does every third time."""
    return images % 3 == 2


PARTS: dict[str, Callable[[list[str]], bool]] = {
    "trainer": lambda words: words[1:] == ["-m", "tasks.train.gan"],
    "supervisor": lambda words: "repro" in words and words[1] == "-S",
    "dvc": lambda words: "repro" in words and words[1] != "-S",
    "engine": lambda words: "prefect.engine" in words,
}


class TrainingServer(RunningServer):
    """A server in which the same training can be repeated from scratch."""

    def prepare(self) -> None:
        """Keeps two real stages, adds a stub bundle, gate and report, and preprocesses digits."""
        for name, text in (("gate", GATE), ("report", REPORT)):
            (self / f"tasks/{name}/__main__.py").write_text(text)
        (self / "bundle.py").write_text(BUNDLE)
        self._write_pipeline()
        self.checkout.set_params(**SMALL)
        self.run_checked("python", "-m", "tasks.ingest", "digits")
        self.run_checked("dvc", "repro", "-q", "preprocess")
        for name, value in (("name", "Test"), ("email", "test@example.com")):
            self.run_checked("git", "config", f"user.{name}", value)
        self.run_checked("git", "add", "-A")
        self.run_checked("git", "commit", "-qm", "Start")
        self.run_checked("dvc", "remote", "add", "-q", "--local", "-d", "storage", str(self / ".work/remote"))
        shutil.copytree(self / ".dvc/cache", self._cache)

    @cached_property
    def _cache(self) -> Path:
        return self.checkout.path.with_name("cache")

    def _write_pipeline(self) -> None:
        real = YAML(typ="safe").load(self / "dvc.yaml")
        bundle = {
            "cmd": "python bundle.py",
            "deps": ["bundle.py", "data/raw", "data/weights/gan"],
            "outs": ["data/bundle/gan"],
            "metrics": [{"data/metrics/gan.json": {"cache": False}}],
        }
        stages = {name: real["stages"][name] for name in STAGES} | {"bundle_gan": bundle}
        artifacts = {"gan": {"path": "data/bundle/gan", "type": "model"}}
        YAML().dump({"stages": stages, "artifacts": artifacts}, self / "dvc.yaml")

    def reset(self) -> None:
        """Deletes all trainings: their results, checkpoints, branches, tags and cached files."""
        until(lambda: not self.run_processes(), seconds=300)  # that a failed test left
        for name in MADE:
            shutil.rmtree(self / ".work" / name, ignore_errors=True)
        shutil.rmtree(self / ".dvc/cache")
        shutil.copytree(self._cache, self / ".dvc/cache")
        if tags := self.tags():
            self.run_checked("git", "tag", "-d", *tags)
        for branch in self.run_checked("git", "branch", "--list", "retrain/*", "--format=%(refname:short)").split():
            self.run_checked("git", "branch", "-qD", branch)

    def tags(self) -> list[str]:
        """The names of all tags."""
        return self.run_checked("git", "tag", "--list").split()

    def released(self) -> str:
        """The SHA-256 of dvc.lock in the commit of the released version."""
        lock = self.run_checked("git", "show", "gan@v1.0.0:dvc.lock")
        return hashlib.sha256(lock.encode()).hexdigest()

    def wait_for_end(self, run: str) -> Any:
        """Waits for a run's end and returns its state."""
        return self.wait(run, "COMPLETED", "FAILED", "CRASHED", "CANCELLED", seconds=300)

    def part(self, name: str) -> psutil.Process | None:
        """The process of the server or of the current run with this name in PARTS, None if there is none now."""
        if name in ("worker", "server"):
            return self.supervised(name)
        for process in self.processes():
            with suppress(psutil.Error):
                # The second supervise.py, which stands by, has no children.
                if PARTS[name](process.cmdline()) and (name != "supervisor" or process.children()):
                    return process
        return None

    def run_processes(self) -> list[psutil.Process]:
        """The processes of runs, without the server's own."""
        own = {process.pid for name in self.pids() for process in self._processes_of(name)}
        return [process for process in self.processes() if process.pid not in own]

    def supervisor(self) -> psutil.Process:
        """The server's supervisor."""
        return psutil.Process(self.pids()["supervisor"])

    def _processes_of(self, name: str) -> list[psutil.Process]:
        process = psutil.Process(self.pids()[name])
        return [process] if name == "supervisor" else [process, *process.children()]

    def locks(self) -> list[Any]:
        """Reads the dvc.lock of the checkout and its worktrees; raises where one is damaged."""
        found = [self / "dvc.lock", *(self / ".work/worktrees").glob("*/dvc.lock")]
        return [YAML(typ="safe").load(path)["stages"] for path in found if path.exists()]
