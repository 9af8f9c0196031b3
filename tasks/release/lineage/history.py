"""Reads the history in git: the files of a commit, the releases, and the hashes of a stage's inputs."""

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from tasks.common.files import digest, sha256_bytes
from tasks.common.inputs import value_at
from tasks.release.lineage.locks import DVC_LOCK, Stages


@dataclass(frozen=True)
class History:
    """A clone of the repository."""

    root: Path

    @property
    def exists(self) -> bool:
        """Returns whether `root` is in a git repository."""
        return self._git("rev-parse", "--git-dir") is not None

    def commit(self, revision: str) -> str | None:
        """Returns the full hash of the commit that a branch, tag or hash names; None where there is none."""
        found = self._git("rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}")
        return found.decode().strip() if found else None

    def show(self, revision: str, path: str) -> bytes | None:
        """Returns the content of a file in a commit, None where it is not there."""
        return self._git("show", f"{revision}:{path}")

    def tags(self, model: str) -> list[str]:
        """Returns the tags that register versions of a model, unsorted."""
        found = (self._git("tag", "--list", f"{model}@v*") or b"").decode().split()
        return [tag for tag in found if not tag.endswith("!")]

    def yaml(self, revision: str, path: str) -> Any:
        """Returns a YAML file of a commit; empty where it is not there."""
        return YAML(typ="safe").load((self.show(revision, path) or b"{}").decode()) or {}

    def stages(self, revision: str) -> Stages:
        """Returns the stages in the dvc.lock of a commit."""
        stages: Stages = self.yaml(revision, DVC_LOCK).get("stages", {})
        return stages

    def inputs(self, revision: str, stage: str) -> tuple[str, str]:
        """Returns the hashes of a stage's declared code and parameters in a commit, as tasks.common.inputs does."""
        declared = self.yaml(revision, "dvc.yaml").get("stages", {}).get(stage, {})
        code = [path for path in declared.get("deps", []) if path.endswith(".py")]
        values = self.yaml(revision, "params.yaml")
        params = {key: value_at(values, key) for key in declared.get("params", [])}
        return digest({path: sha256_bytes(self.show(revision, path) or b"") for path in code}), digest(params)

    def _git(self, *arguments: str) -> bytes | None:
        done = subprocess.run(["git", *arguments], cwd=self.root, capture_output=True, check=False)
        return None if done.returncode else done.stdout
