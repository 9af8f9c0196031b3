"""What the two flows cost beside the bare commands: `python bench/orchestration.py [--json FILE]`.

In a temporary clone of the last commit, on Fashion-MNIST with short trainings, the same stages run three times: as bare
commands one after the other (`python -m tasks.X`, the peer), as the flow `pipeline` (`make run`) and as the flow
`retrain`, which adds worktree, gate, push, commit and tags; then both with nothing to do. The prepared images and the
judges are there from the start, so that the flows find them unchanged; between runs all else is removed, checkpoints
included. The cost is the flow's seconds less the bare commands' and, for `retrain`, less the seconds that gate and
report compute. Needs the checkout's .venv; twenty minutes on two cores.
"""

import argparse
import re
import shutil
import subprocess
import time
from pathlib import Path

from checkouts import Checkout, cloned, shorten
from rows import Row, at_most, publish
from ruamel.yaml import YAML

THERE = ("preprocess", "reference", "reference_second")
OURS = ("data/weights", "data/onnx", "data/judged", "data/samples", "data/bundle")
TEN_MINUTES = 600.0


def main() -> None:
    """Measures, prints a table and writes the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    with cloned() as [clone]:
        rows = measure(clone)
    publish(rows, given.json)


def measure(clone: Checkout) -> list[Row]:
    """All rows."""
    shorten(clone, "fashion-mnist")
    clone.must("-m", "dvc", "--wait-for-lock", "repro", *THERE)
    clone.git("add", "--all")
    clone.git("commit", "-qm", "Judges")
    clone.git("tag", "start")
    bare = sum(timed(clone, *command.split()[1:]) for command in commands(clone))
    wipe(clone)
    pipeline = timed(clone, "-m", "flows.pipeline")
    again = timed(clone, "-m", "flows.pipeline")
    wipe(clone)
    retrain, computed = timed_retrain(clone)
    nothing = timed(clone, "-m", "flows", "retrain")
    cost = pipeline - bare
    extra = retrain - bare - computed
    return [
        Row("bare commands, one after the other", bare, "s"),
        Row("flow `pipeline`, server and report included", pipeline, "s"),
        at_most("    its cost", cost, 30, "s"),
        at_most("    of a run of ten minutes", 100 * cost / TEN_MINUTES, 5, "%"),
        Row("flow `retrain`, server included", retrain, "s"),
        Row("    of that gate and report", computed, "s"),
        at_most("    its cost", extra, 30, "s"),
        at_most("flow `pipeline`, unchanged tree", again, 20, "s"),
        at_most("flow `retrain`, nothing new", nothing, 20, "s"),
    ]


def commands(clone: Checkout) -> list[str]:
    """The other stages' own commands, in an order that the DAG allows."""
    stages = YAML(typ="safe").load(clone / "dvc.yaml")["stages"]
    return [stage["cmd"] for name, stage in stages.items() if name not in THERE]


def timed(clone: Checkout, *arguments: str) -> float:
    """Seconds of `python ARGUMENTS`."""
    start = time.perf_counter()
    clone.must(*arguments)
    return time.perf_counter() - start


def timed_retrain(clone: Checkout) -> tuple[float, float]:
    """Seconds of `retrain`, and of those the ones in which gate or report ran."""
    start, spans = time.perf_counter(), dict[str, list[float]]()
    with clone.start("-m", "flows", "retrain", stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        assert process.stdout
        lines = []
        for line in process.stdout:
            lines.append(line)
            if name := re.match(r"(bundle_vae|bundle_gan|gate_gan|gate_vae|report|push) \|", line):
                spans.setdefault(name[1], []).append(time.perf_counter())
    if process.returncode:
        raise SystemExit("error: the flow `retrain` failed: " + "".join(lines[-20:]))
    bundled = max(spans["bundle_gan"][-1], spans["bundle_vae"][-1])
    return time.perf_counter() - start, spans["report"][-1] - bundled


def wipe(clone: Checkout) -> None:
    """Back to where nothing but THERE has run: no outputs, no cache of runs, no checkpoints."""
    for pattern in OURS:
        for path in clone.path.glob(pattern):
            shutil.rmtree(path)
    shutil.rmtree(clone / ".dvc/cache/runs", ignore_errors=True)
    shutil.rmtree(clone / ".work/checkpoints", ignore_errors=True)
    clone.git("checkout", "-q", "start", "--", ".")


if __name__ == "__main__":
    main()
