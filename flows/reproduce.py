"""`python -m flows.reproduce gan@v1.0.0`: whether a release comes out again, byte for byte, from its commit alone.

In a clone of its own, with a cache and a work folder of its own, so that neither run cache nor checkpoints help: the
release's data is pulled, `dvc repro` must find nothing to do, and `dvc repro --force` must give every hash again. There
is a line per stage. Exit code 0, 1 when a hash is another, 2 when it could not be tried. On a CPU equal hashes are
promised on the same kind of processor with as many threads, so where those differ, the last lines say so.
"""

import argparse
import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from flows.core.dag import dvc_command
from flows.core.git import GitError, git
from flows.core.processes import ProcessGroup, StageError
from flows.core.terminal import catch_signals
from flows.core.worktree import check_lock, share_dvc
from flows.release.registry import Release, find_release
from tasks.common.cli import machine, run
from tasks.common.errors import UserError
from tasks.common.files import remove
from tasks.common.paths import work_folder
from tasks.release.lineage.collect import record_path
from tasks.release.lineage.locks import DVC_LOCK, locked_stages, makers

DEADLINE = 14 * 24 * 3600
RUNNING = re.compile(r"Running stage '(\w+)'")
DONE = re.compile(r"(\w+): done in ([\d.]+) s")

Hashes = Mapping[str, Mapping[str, str]]


def reproduce(checkout: Path, release: Release) -> bool:
    """Makes a release again in `.work/reproduce`, where it stays to be looked at; says whether all hashes are the same.

    Raises UserError where the release's data is not to be had, or a stage fails.
    """
    place = work_folder() / "reproduce" / str(release)
    _clone(checkout, release, place)
    with ProcessGroup(place) as processes:
        _pull(processes, release)
        promised = outputs(place, release.model)
        stale = [found[1] for line in _repro(processes, release) if (found := RUNNING.match(line))]
        print(f"dvc repro: {', '.join(stale) or 'nothing'} had to run", flush=True)
        lines = _repro(processes, release, "--force", "--no-run-cache")
        made = outputs(place, release.model)
    seconds = {found[1]: float(found[2]) for line in lines if (found := DONE.match(line))}
    print(*table(promised, made, seconds), *_machines(checkout, release), sep="\n")
    return not stale and made == promised


def outputs(root: Path, model: str) -> Hashes:
    """DVC's hashes of the outputs of all stages that a model's bundle rests on, by stage and path."""
    stages = locked_stages((root / DVC_LOCK).read_text(encoding="utf-8"))
    names = makers(stages, f"data/bundle/{model}")
    return {name: {out["path"]: out["md5"] for out in stages[name].get("outs", [])} for name in names}


def table(promised: Hashes, made: Hashes, seconds: Mapping[str, float]) -> Iterator[str]:
    """A row per stage: the seconds it took, and which outputs have other hashes than the release's."""
    width = max(map(len, promised), default=0)
    for stage, outs in promised.items():
        other = [path for path, md5 in outs.items() if made.get(stage, {}).get(path) != md5]
        took = f"{seconds[stage]:8.1f} s" if stage in seconds else " " * 10
        yield f"{stage:<{width}} {took}  {'OTHER  ' + ', '.join(other) if other else 'same'}"


def _clone(checkout: Path, release: Release, place: Path) -> None:
    remove(place)
    place.parent.mkdir(parents=True, exist_ok=True)
    git(checkout, "clone", "--quiet", "--no-checkout", str(checkout), str(place))
    git(place, "checkout", "--quiet", "--detach", str(release))
    check_lock(place)
    share_dvc(checkout, place, place / ".dvc/cache")


def _pull(processes: ProcessGroup, release: Release) -> None:
    try:
        processes.run(dvc_command("pull", "--with-deps", f"bundle_{release.model}"), lambda line: None, DEADLINE)
    except StageError as error:
        said = next((line for line in str(error).splitlines() if line.startswith("ERROR: ")), str(error))
        why = said.removeprefix("ERROR: ")
        raise UserError(
            f"the data of {release} is not to be had from the DVC remote ({why}); where it was made, `dvc push "
            "--all-tags` brings it there"
        ) from None


def _repro(processes: ProcessGroup, release: Release, *options: str) -> list[str]:
    """Runs `dvc repro` for the release's bundle and shows what it says; returns the lines."""
    lines: list[str] = []

    def say(line: str) -> None:
        lines.append(line)
        print(line, flush=True)

    try:
        processes.run(dvc_command("repro", *options, f"bundle_{release.model}"), say, DEADLINE)
    except StageError as error:
        raise UserError(f"{release} cannot be made again: {error}") from None
    return lines


def _machines(checkout: Path, release: Release) -> Iterator[str]:
    """What the release's stages ran on, where that is something else than this machine."""
    try:
        lineage = json.loads(git(checkout, "show", f"{release}:{record_path(release.model)}"))
    except GitError:
        return
    here = machine()
    for stage, receipt in lineage["stages"].items():
        there = receipt["machine"] if receipt else here
        for what in ("processor", "gpu", "driver"):
            if there.get(what) != here.get(what):
                yield f"{stage}: {what} was {there.get(what) or 'none'}, here it is {here.get(what) or 'none'}"


def main() -> int:
    """Parses, reproduces and says the verdict; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m flows.reproduce", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("release", help="as gan@v1.0.0")
    given = parser.parse_args()
    catch_signals()
    same = reproduce(Path.cwd(), find_release(Path.cwd(), given.release))
    print(f"{given.release}: {'every hash is the same' if same else 'NOT reproduced'}")
    return 0 if same else 1


if __name__ == "__main__":
    run(lambda: sys.exit(main()))
