"""Which code a stage's result depends on: `python -m tests.closure` writes it into dvc.yaml, and a test compares."""

import ast
import re
from pathlib import Path

from ruamel.yaml import YAML

ROOT = Path(__file__).parents[1]
STAGES = YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"]
CODE = re.compile(r"      - (tasks|models)/")

# Modules that cannot change a byte of any output, so that an edit to them, or to what they alone use, re-runs nothing.
NEUTRAL = {
    "models/settings.py": "types and bounds of parameters; the values are in params.yaml",
    "tasks/common/model_names.py": "lists the models; a stage runs for one of them",
    "tasks/common/params.py": "reads and checks parameters; the values are in params.yaml",
    "tasks/common/cli.py": "progress, messages and receipts, none of which stands under data/",
    "tasks/common/errors.py": "exceptions that end a stage without output",
    "tasks/common/progress.py": "leaves progress for whoever watches, outside of data/",
    "tasks/train/previews.py": "draws pictures for whoever watches, outside of data/",
    "tasks/common/paths.py": "finds .work, where nothing is an output",
}

# Files that a stage copies or fills in rather than imports.
READ_AS_DATA = {"tasks.bundle": {"tasks/bundle/card.md.j2", "tasks/bundle/verify.py"}}


def module_of(stage: str) -> str:
    return STAGES[stage]["cmd"].split()[2]


def modules_of(stage: str) -> list[str]:
    """The module that a stage runs, and the one that it loads for its model (tasks/common/model_names.py)."""
    module, *model = STAGES[stage]["cmd"].split()[2:]
    return [module, *(f"{module}.{name}" for name in model)]


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


def closure(*modules: str) -> set[str]:
    """Files, relative to the project, that running `python -m MODULE` can execute, without what neutral ones import."""
    waiting = [file for module in modules for file in files_of(module)]
    waiting += [main for module in modules if (main := ROOT.joinpath(*module.split("."), "__main__.py")).is_file()]
    seen: set[Path] = set()
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
    """Files of the code that a stage must declare as its dependencies."""
    found = closure(*modules_of(stage)) - NEUTRAL.keys()
    code = {file for file in found if not is_docstring_only(file) and file != "tasks/__init__.py"}
    return code | READ_AS_DATA.get(module_of(stage), set())


def with_code(text: str) -> str:
    """dvc.yaml with the code of every stage, sorted, after its other dependencies; all else as it stands."""
    for stage in STAGES:
        (block,) = re.findall(rf"(?ms)^  {stage}:\n.*?(?=^  \w|^\w|\Z)", text)
        lines = [line for line in block.split("\n") if not CODE.match(line)]
        place = lines.index("    deps:") + 1
        while lines[place].startswith("      - "):
            place += 1
        lines[place:place] = [f"      - {file}" for file in sorted(expected_code(stage))]
        text = text.replace(block, "\n".join(lines))
    return text


if __name__ == "__main__":
    (ROOT / "dvc.yaml").write_text(with_code((ROOT / "dvc.yaml").read_text(encoding="utf-8")), encoding="utf-8")
