"""Measures the overhead of the two flows: `python bench/orchestration.py [--json FILE]`.

In a temporary clone of the last commit, on Fashion-MNIST with short trainings, the same stages run three times: as bare
commands one after the other (`python -m tasks.X`, the peer), as the flow `pipeline` (`make run`) and as the flow
`retrain`, which adds worktree, gate, push, commit and tags; then both flows run with nothing to do. The prepared images
and the evaluators exist from the start, so that the flows find them unchanged; everything else is removed between runs,
checkpoints included. The overhead is the flow's seconds less those of the bare commands and, for `retrain`, less the
seconds of gate and report. Needs the checkout's .venv; twenty minutes on two cores.
"""

import re
import shutil
import subprocess
import sys
import time

from arguments import parse, parser
from checkouts import Checkout, cloned, commit, shorten
from rows import Row, at_most, publish
from ruamel.yaml import YAML

MADE_BEFORE = ("preprocess", "reference", "reference_second")
OUTPUTS = ("data/weights", "data/onnx", "data/evaluation", "data/samples", "data/bundle")
TEN_MINUTES = 600.0
COPY = """
import shutil, sys
from pathlib import Path
for name in sys.argv[2:]:
    source, target = Path(sys.argv[1]) / name, Path(name)
    target.parent.mkdir(parents=True, exist_ok=True)
    (shutil.copytree if source.is_dir() else shutil.copyfile)(source, target)
"""


def main() -> None:
    """Measures, prints a table and writes the JSON."""
    given = parse(parser(__doc__))
    with cloned(tiny=given.tiny) as [clone]:
        rows = measure(clone)
    publish(rows, given.json)


def measure(clone: Checkout) -> list[Row]:
    """Runs everything and returns the rows."""
    shorten(clone, "fashion-mnist")
    if clone.tiny:
        stand_in(clone)
    clone.must("-m", "dvc", "--wait-for-lock", "repro", *MADE_BEFORE)
    commit(clone, "Evaluators")
    clone.git("tag", "start")
    bare = sum(timed(clone, *command.split()[1:]) for command in commands(clone))
    wipe(clone)
    pipeline = timed(clone, "-m", "flows.pipeline")
    again = timed(clone, "-m", "flows.pipeline")
    wipe(clone)
    retrain, computed = timed_retrain(clone)
    nothing = timed(clone, *retraining(clone), says="nothing new")
    cost = pipeline - bare
    extra = retrain - bare - computed
    return [
        Row("bare commands, one after the other", bare, "s"),
        Row("flow `pipeline`, server and report included", pipeline, "s"),
        at_most("    overhead", cost, 30, "s"),
        at_most("    overhead in a run of ten minutes", 100 * cost / TEN_MINUTES, 5, "%"),
        Row("flow `retrain`, server included", retrain, "s"),
        Row("    of that, gate and report", computed, "s"),
        at_most("    overhead", extra, 30, "s"),
        at_most("flow `pipeline`, unchanged tree", again, 20, "s"),
        at_most("flow `retrain`, nothing new", nothing, 20, "s"),
    ]


def commands(clone: Checkout) -> list[str]:
    """Returns the commands of the other stages, in an order that the DAG allows."""
    stages = YAML(typ="safe").load(clone / "dvc.yaml")["stages"]
    return [stage["cmd"] for name, stage in stages.items() if name not in MADE_BEFORE]


def retraining(clone: Checkout) -> list[str]:
    """Returns the flow's arguments."""
    return ["-m", "flows", "retrain", *(["--models", "gan"] if clone.tiny else [])]


def stand_in(clone: Checkout) -> None:
    """Makes the GAN once, and replaces its stages by ones that copy those outputs; removes the VAE's stages."""
    yaml, kept, description = YAML(), clone / ".work/kept", clone / "dvc.yaml"
    dag = yaml.load(description)
    stages = dag["stages"] = {name: stage for name, stage in dag["stages"].items() if not name.endswith("_vae")}
    clone.make(*stages)
    (clone / "copy_kept.py").write_text(COPY)
    for stage in stages.values():
        written = [name for kind in ("outs", "plots", "metrics") for out in stage.get(kind, []) for name in names(out)]
        for name in written:
            (kept / name).parent.mkdir(parents=True, exist_ok=True)
            (clone / name).rename(kept / name)
        stage["cmd"] = " ".join(["python copy_kept.py", str(kept), *written])
    yaml.dump(dag, description)
    commit(clone, "Stand-ins")


def names(output: str | dict[str, object]) -> list[str]:
    """Returns the path of an output in dvc.yaml, which is a mapping where the output has options."""
    return [output] if isinstance(output, str) else list(output)


def timed(clone: Checkout, *arguments: str, says: str = "") -> float:
    """Returns the seconds of `python ARGUMENTS`; ends this process if its output lacks the text `says`."""
    start = time.perf_counter()
    output = clone.must(*arguments)
    if says.lower() not in output.lower():
        sys.exit(f"error: `python {' '.join(arguments)}` did not say `{says}`: {output[-2000:]}")
    return time.perf_counter() - start


def timed_retrain(clone: Checkout) -> tuple[float, float]:
    """Returns the seconds of `retrain`, and how many of them gate and report took."""
    start, spans = time.perf_counter(), dict[str, list[float]]()
    with clone.start(*retraining(clone), stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        assert process.stdout
        lines = []
        for line in process.stdout:
            lines.append(line)
            if name := re.match(r"(bundle_vae|bundle_gan|gate_gan|gate_vae|report|push) \|", line):
                spans.setdefault(name[1], []).append(time.perf_counter())
    if process.returncode:
        raise SystemExit("error: the flow `retrain` failed: " + "".join(lines[-20:]))
    bundled = max(spans[name][-1] for name in ("bundle_gan", "bundle_vae") if name in spans)
    return time.perf_counter() - start, spans["report"][-1] - bundled


def wipe(clone: Checkout) -> None:
    """Removes outputs, run cache and checkpoints of all stages but MADE_BEFORE."""
    for pattern in OUTPUTS:
        for path in clone.path.glob(pattern):
            shutil.rmtree(path)
    shutil.rmtree(clone / ".dvc/cache/runs", ignore_errors=True)
    shutil.rmtree(clone / ".work/checkpoints", ignore_errors=True)
    clone.git("checkout", "-q", "start", "--", ".")


if __name__ == "__main__":
    main()
