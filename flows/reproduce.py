"""`imagewright reproduce gan@v1.0.0`: checks that a release can be made again, byte for byte, from its commit.

The check runs in a clone with its own cache and work folder, so that neither DVC's run cache nor checkpoints are used:
the release's data is pulled, `dvc repro` must find nothing to do, and `dvc repro --force` must give every hash again.
One line per stage shows the result. Exit code 0 if all hashes are the same, 1 if one differs, 2 if the check could not
run. On a CPU, equal hashes are promised for the same kind of processor and number of threads; the last lines name what
differs from the machine that made the release.
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
from flows.core.worktree import check_requirements, share_dvc
from flows.release.commits import dvc_reason
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
    """Makes a release again in `.work/reproduce`, which is kept; returns whether all hashes are the same.

    Raises UserError when the release's data cannot be pulled or a stage fails.
    """
    clone = work_folder() / "reproduce" / str(release)
    _clone(checkout, release, clone)
    with ProcessGroup(clone) as processes:
        _pull(processes, release)
        expected = outputs(clone, release.model)
        stale = [found[1] for line in _repro(processes, release) if (found := RUNNING.match(line))]
        print(f"dvc repro: {', '.join(stale) or 'nothing'} had to run", flush=True)
        lines = _repro(processes, release, "--force", "--no-run-cache")
        made = outputs(clone, release.model)
    seconds = {found[1]: float(found[2]) for line in lines if (found := DONE.match(line))}
    print(*table(expected, made, seconds), *_machines(checkout, release), sep="\n")
    return not stale and made == expected


def outputs(root: Path, model: str) -> Hashes:
    """Returns DVC's hashes of the outputs of a model's bundle stage and its ancestors, by stage and path."""
    stages = locked_stages((root / DVC_LOCK).read_text(encoding="utf-8"))
    names = makers(stages, f"data/bundle/{model}")
    return {name: {out["path"]: out["md5"] for out in stages[name].get("outs", [])} for name in names}


def table(expected: Hashes, made: Hashes, seconds: Mapping[str, float]) -> Iterator[str]:
    """Yields a row per stage: the seconds it took, and the outputs whose hashes differ from the release's."""
    width = max(map(len, expected), default=0)
    for stage, outs in expected.items():
        differing = [path for path, md5 in outs.items() if made.get(stage, {}).get(path) != md5]
        duration = f"{seconds[stage]:8.1f} s" if stage in seconds else " " * 10
        yield f"{stage:<{width}} {duration}  {'DIFFERENT  ' + ', '.join(differing) if differing else 'same'}"


def _clone(checkout: Path, release: Release, clone: Path) -> None:
    remove(clone)
    clone.parent.mkdir(parents=True, exist_ok=True)
    git(checkout, "clone", "--quiet", "--no-checkout", str(checkout), str(clone))
    git(clone, "checkout", "--quiet", "--detach", str(release))
    check_requirements(clone)
    share_dvc(checkout, clone, clone / ".dvc/cache")


def _pull(processes: ProcessGroup, release: Release) -> None:
    try:
        processes.run(dvc_command("pull", "--with-deps", f"bundle_{release.model}"), lambda line: None, DEADLINE)
    except StageError as error:
        reason, advice = dvc_reason(error), "push it with `dvc push --all-tags` from the checkout that made it"
        raise UserError(f"the data of {release} cannot be pulled from the DVC remote ({reason}); {advice}") from None


def _repro(processes: ProcessGroup, release: Release, *options: str) -> list[str]:
    """Runs `dvc repro` for the release's bundle and prints its output; returns the lines."""
    lines: list[str] = []

    def log(line: str) -> None:
        lines.append(line)
        print(line, flush=True)

    try:
        processes.run(dvc_command("repro", *options, f"bundle_{release.model}"), log, DEADLINE)
    except StageError as error:
        raise UserError(f"{release} cannot be made again: {error}") from None
    return lines


def _machines(checkout: Path, release: Release) -> Iterator[str]:
    """Yields the differences between this machine and those that ran the release's stages."""
    try:
        lineage = json.loads(git(checkout, "show", f"{release}:{record_path(release.model)}"))
    except GitError:
        return
    here = machine()
    for stage, receipt in lineage["stages"].items():
        there = receipt["machine"] if receipt else here
        for part in ("processor", "gpu", "driver"):
            if there.get(part) != here.get(part):
                yield f"{stage}: {part} was {there.get(part) or 'none'}, here it is {here.get(part) or 'none'}"


def main() -> None:
    """Parses the command line, runs the check, prints the result and exits."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("release", help="for example gan@v1.0.0")
    arguments = parser.parse_args()
    catch_signals()
    same = reproduce(Path.cwd(), find_release(Path.cwd(), arguments.release))
    print(f"{arguments.release}: {'every hash is the same' if same else 'NOT reproduced'}")
    sys.exit(0 if same else 1)


if __name__ == "__main__":
    run(main)
