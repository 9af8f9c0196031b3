"""dvc.yaml against the code: deps cover what a stage imports, params match the models that read them."""

import ast
import re
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from tasks.params import Params

ROOT = Path(__file__).parents[1]
STAGES = YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"]

# Modules that cannot change a byte of any output, so that an edit to them, or to what they alone use, re-runs nothing.
NEUTRAL = {
    "models/settings.py": "types and bounds of parameters; the values are in params.yaml",
    "tasks/params.py": "reads and checks parameters; the values are in params.yaml",
    "tasks/console.py": "progress, messages and receipts, none of which stands under data/",
    "tasks/errors.py": "exceptions that end a stage without output",
    "tasks/live.py": "leaves progress for whoever watches, outside of data/",
    "tasks/sketches.py": "draws pictures for whoever watches, outside of data/",
    "tasks/workplace.py": "finds .work, where nothing is an output",
}

# Files that a stage copies or fills in rather than imports.
READ_AS_DATA = {"tasks.bundle": {"tasks/bundle/card.md.j2", "tasks/bundle/verify.py"}}


def module_of(stage: str) -> str:
    return STAGES[stage]["cmd"].split()[2]


def files_of(module: str) -> list[Path]:
    """The files that importing or running a module executes: its packages' __init__ and itself."""
    parts, files = module.split("."), []
    for end in range(1, len(parts) + 1):
        base = ROOT.joinpath(*parts[:end])
        if base.is_dir():
            files.append(base / "__init__.py")
        elif base.with_suffix(".py").is_file():
            files.append(base.with_suffix(".py"))
    return files


def imported(file: Path) -> set[str]:
    """Local modules that a file imports, anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in names if name.split(".")[0] in {"tasks", "models", "flows"}}


def closure(module: str) -> set[str]:
    """Files, relative to the project, that running `python -m MODULE` can execute, without what neutral ones import."""
    main = ROOT.joinpath(*module.split("."), "__main__.py")
    waiting, seen = [*files_of(module), *([main] if main.is_file() else [])], set()
    while waiting:
        file = waiting.pop()
        if file in seen:
            continue
        seen.add(file)
        if file.relative_to(ROOT).as_posix() not in NEUTRAL:
            waiting += [found for name in imported(file) for found in files_of(name)]
    return {file.relative_to(ROOT).as_posix() for file in seen}


def is_docstring_only(file: str) -> bool:
    return file.endswith("__init__.py") and len(ast.parse((ROOT / file).read_text(encoding="utf-8")).body) <= 1


def expected_code(stage: str) -> set[str]:
    found = closure(module_of(stage)) - NEUTRAL.keys()
    return {file for file in found if not is_docstring_only(file) and file != "tasks/__init__.py"}


def test_sections_of_params_match_the_model_and_every_one_is_read() -> None:
    values = YAML(typ="safe").load(ROOT / "params.yaml")
    assert values.keys() == Params.model_fields.keys()
    read = {key.split(".")[0] for stage in STAGES.values() for key in stage["params"]}
    assert read == Params.model_fields.keys() - {"gate"}  # which is no stage


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_is_named_as_its_module_and_its_section(stage: str) -> None:
    module = module_of(stage).removeprefix("tasks.")
    model = re.search(r"_(gan|vae)$", stage)
    assert stage == (module.replace(".", "_") if model is None or "." in module else f"{module}_{model[1]}")
    assert {stage, stage.removesuffix("_gan").removesuffix("_vae")} & set(STAGES[stage]["params"])


def test_no_output_switches_the_run_cache_off_and_trainings_take_turns() -> None:
    """`persist` does, and so does an output out of the cache that is neither a metric nor a plot."""
    assert "persist" not in (ROOT / "dvc.yaml").read_text()
    assert all(isinstance(out, str) for stage in STAGES.values() for out in stage["outs"])
    computing = [stage for stage in STAGES if stage.startswith(("reference", "train"))]
    assert {STAGES[stage]["meta"]["resource"] for stage in computing} == {"device"}


# What a one-line edit runs again. Judging, shipping and reporting anew must train nothing.
RERUNS = {
    "tasks/evaluate/vae.py": {"evaluate_gan", "evaluate_vae"},
    "tasks/scores.py": {"evaluate_gan", "evaluate_vae"},
    "tasks/metrics/neighbours.py": {"evaluate_gan", "evaluate_vae"},
    "tasks/bundle/verify.py": {"bundle_gan", "bundle_vae"},
    "tasks/export.py": {"export_gan", "export_vae"},
    "tasks/reference/look.py": {"reference", "reference_second"},
    "tasks/judge.py": {"reference", "reference_second", "evaluate_gan", "evaluate_vae"},
    "models/learners/gan.py": {"train_gan"},
    "models/learners/vae.py": {"train_vae"},
    "models/losses/adversarial.py": {"train_gan"},
    "tasks/params.py": set(),
    "tasks/console.py": set(),
    "tasks/sketches.py": set(),
    "tasks/report/page.py": set(),
    "flows/pipeline.py": set(),
}


@pytest.mark.parametrize("file", RERUNS)
def test_what_an_edit_runs_again(file: str) -> None:
    assert (ROOT / file).is_file()
    assert {stage for stage in STAGES if file in STAGES[stage]["deps"]} == RERUNS[file]


def test_imports_point_one_way() -> None:
    allowed = {"models": {"models"}, "tasks": {"models", "tasks"}, "flows": {"flows", "tasks"}}
    for package, targets in allowed.items():
        for file in (ROOT / package).rglob("*.py"):
            assert {name.split(".")[0] for name in imported(file)} <= targets, file


@pytest.mark.parametrize("stage", STAGES)
def test_deps_are_the_import_closure(stage: str) -> None:
    declared = {dep for dep in STAGES[stage]["deps"] if dep.startswith(("tasks/", "models/"))}
    assert declared == expected_code(stage) | READ_AS_DATA.get(module_of(stage), set())
