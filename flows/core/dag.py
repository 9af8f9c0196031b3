"""The DAG that dvc.yaml declares, and the way the flows call DVC.

DVC's Python API is used for reading only (`Repo.index.graph`, `Repo.status`). Everything that runs or writes is a
command line built by `dvc_command`, because only a process can be stopped.
"""

import itertools
import json
import os
import sys
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import networkx as nx
import psutil
from dvc.exceptions import DvcException
from dvc.repo import Repo
from dvc.stage import PipelineStage
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tasks.common.errors import UserError
from tasks.common.files import digest, sha256_file
from tasks.common.params import PARAMS_FILE, load_params

POLL_SECONDS = 0.5
STOP_SECONDS = 20.0  # the supervisors of a run that died stop its stages within this time


class Policy(BaseModel):
    """How the flows schedule a stage: its `meta` in dvc.yaml."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    resource: str | None = Field(default=None, description="Stages that name the same resource run one at a time.")
    deadline: int = Field(default=24 * 3600, gt=0, description="Seconds after which the stage is stopped.")
    retries: int = Field(default=0, ge=0, description="How many times a failed stage is started again.")


@dataclass(frozen=True)
class Stage:
    """A stage, and the names of the stages whose outputs it reads."""

    name: str
    upstream: tuple[str, ...]
    policy: Policy


@dataclass(frozen=True)
class Dag:
    """All stages in topological order; ties keep the order of dvc.yaml."""

    stages: tuple[Stage, ...]

    def up_to(self, names: Collection[str]) -> "Dag":
        """Returns the named stages and all their ancestors."""
        wanted = set(names)
        for stage in reversed(self.stages):
            if stage.name in wanted:
                wanted.update(stage.upstream)
        return Dag(tuple(stage for stage in self.stages if stage.name in wanted))


def read_dag(root: Path) -> Dag:
    """Reads the DAG of the DVC repository at `root`.

    Raises UserError when DVC cannot read it, when a stage's `meta` is no valid Policy, or when input data is missing.
    """
    with _open(root) as repo:
        graph = repo.index.graph
        position = {stage: number for number, stage in enumerate(repo.index.stages)}
        order = [*nx.lexicographical_topological_sort(graph.reverse(), key=lambda stage: position[stage])]
        _check_data(root, order)
        return Dag(tuple(_stage(stage, graph) for stage in order if isinstance(stage, PipelineStage)))


@contextmanager
def _open(root: Path) -> Iterator[Repo]:
    try:
        with Repo(str(root), _wait_for_lock=True) as repo:
            yield repo
    except DvcException as error:
        reason = " ".join(str(error).split())
        raise UserError(f"DVC cannot read {root} ({reason}); run `dvc status` there for details") from None


def _stage(stage: PipelineStage, graph: "nx.DiGraph[Any]") -> Stage:
    upstream = sorted(str(source.name) for source in graph.successors(stage) if isinstance(source, PipelineStage))
    try:
        policy = Policy.model_validate(stage.meta or {})
    except ValidationError as error:
        faults = "; ".join(f"`{'.'.join(map(str, fault['loc']))}`: {fault['msg']}" for fault in error.errors())
        raise UserError(f"dvc.yaml: the meta of stage `{stage.name}` is invalid ({faults}); correct it there") from None
    return Stage(str(stage.name), tuple(upstream), policy)


def _check_data(root: Path, stages: list[Any]) -> None:
    """Raises UserError for missing or unversioned data, on which DVC would fail only in the middle of a run."""
    outs = {Path(out.fs_path): isinstance(stage, PipelineStage) for stage in stages for out in stage.outs}
    data = root.resolve() / "data"
    for path in sorted({Path(dep.fs_path) for stage in stages for dep in stage.deps if dep.protocol == "local"}):
        if data not in path.parents:
            continue
        made = [by_stage for out, by_stage in outs.items() if out == path or out in path.parents or path in out.parents]
        if not made or not (any(made) or path.exists()):
            raise UserError(f"{path.relative_to(root.resolve())} is missing or not tracked by DVC; run `make data`")


def status(root: Path) -> dict[str, Any]:
    """Returns what `dvc status` prints: the changes by stage name and .dvc file; empty when nothing changed."""
    with _open(root) as repo:
        return {address.rpartition(":")[2]: changes for address, changes in repo.status().items()}


def unchanged(root: Path, dag: Dag) -> frozenset[str]:
    """Returns the stages that match dvc.lock and whose ancestors all do: DVC would run none of them."""
    changed = set(status(root))
    for stage in dag.stages:
        if not changed.isdisjoint(stage.upstream):
            changed.add(stage.name)
    return frozenset(stage.name for stage in dag.stages) - changed


def fingerprint(root: Path, dag: Dag) -> str:
    """Returns the hex SHA-256 of all inputs of a DAG's stages: commands, code, params.yaml and pinned data."""
    params = load_params(root / PARAMS_FILE).model_dump()
    return digest({"stages": dict(_sources(root, {stage.name for stage in dag.stages})), "params": params})


def _sources(root: Path, names: Collection[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """Yields each stage's name with its command and the hashes, by path, of those inputs that no stage makes."""
    root = root.resolve()
    with _open(root) as repo:
        inputs = [stage for stage in repo.index.stages if not isinstance(stage, PipelineStage)]
        pins = {Path(out.fs_path): str(out.hash_info.value) for stage in inputs for out in stage.outs}
        for stage in repo.index.stages:
            if isinstance(stage, PipelineStage) and stage.name in names:
                paths = [Path(dep.fs_path) for dep in stage.deps if dep.protocol == "local"]
                # The outputs of stages are left out, because they follow from the other inputs.
                given = [path for path in paths if path in pins or root / "data" not in path.parents]
                hashes = {path.relative_to(root).as_posix(): pins.get(path) or sha256_file(path) for path in given}
                yield str(stage.name), {"cmd": str(stage.cmd)} | hashes


def dvc_command(*arguments: str) -> list[str]:
    """Returns the command line of a DVC command that waits for DVC's lock; by default DVC gives up after 3 s."""
    return [sys.executable, "-m", "dvc", "--wait-for-lock", *arguments]


def dvc_environment() -> dict[str, str]:
    """Returns the environment for `dvc_command`: `python` is this interpreter, and its output is not buffered."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    return os.environ | {"PATH": path, "PYTHONUNBUFFERED": "1", "DVC_NO_ANALYTICS": "1"}


def clear_stale_locks(root: Path, patience: float = STOP_SECONDS) -> None:
    """Removes the path locks of killed DVC processes, which DVC respects again once their process id is reused.

    The caller holds the run lock. Waits up to `patience` seconds for a live DVC process to end; raises UserError when
    it does not.
    """
    path = root / ".dvc" / "tmp" / "rwlock"
    until = time.monotonic() + patience
    while holders := [pid for pid in _holders(path) if _is_dvc(pid, root)]:
        if time.monotonic() > until:
            raise UserError(f"a dvc command (process {holders[0]}) is running in {root}; wait until it ends")
        time.sleep(POLL_SECONDS)
    path.unlink(missing_ok=True)


def _holders(rwlock: Path) -> list[int]:
    """Returns the process ids in a lock file: `{"write": {path: {"pid": ..}}, "read": {path: [{"pid": ..}]}}`."""
    try:
        lock = json.loads(rwlock.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):  # a process that was killed while writing leaves half a file
        return []
    readers = itertools.chain.from_iterable(lock.get("read", {}).values())
    return sorted({holder["pid"] for holder in (*lock.get("write", {}).values(), *readers)})


def _is_dvc(pid: int, root: Path) -> bool:
    try:
        process = psutil.Process(pid)
        return Path(process.cwd()) == root.resolve() and any("dvc" in part for part in process.cmdline())
    except psutil.Error:
        return False
