"""Runs an example's Python as a consumer does, who has neither PyTorch nor this project."""

import os
import sys

from tests.conftest import ROOT

EXAMPLES = ROOT / "examples"
BARE = """
import runpy, sys
sys.modules.update(dict.fromkeys(("torch", "tasks", "models", "flows")))
sys.argv = sys.argv[1:]
sys.path[0] = sys.argv[0].rpartition("/")[0]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def bare(script: str, *arguments: object) -> list[str]:
    """The command that runs `script` of `examples` where importing torch or the project fails."""
    return [sys.executable, "-c", BARE, str(EXAMPLES / script), *map(str, arguments)]


def environment() -> dict[str, str]:
    """This one without what would lead an import to the project."""
    return {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
