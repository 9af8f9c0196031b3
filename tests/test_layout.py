"""The packages, the one direction of their imports, and what bounds their size."""

from pathlib import Path

import pytest

from tests.closure import ROOT, imported

# Each package may import those before it, and none after it.
ORDER = (
    *("models.settings", "models.shapes", "models.pixels", "models.augment", "models.losses"),
    *("models.training", "models.networks", "models.learners", "tasks.common", "tasks.metrics"),
    *("tasks.ingest", "tasks.preprocess", "tasks.train"),
    *("tasks.reference", "tasks.export", "tasks.evaluate", "tasks.bundle", "tasks.gate", "tasks.report"),
    *("tasks.release", "flows.ui", "flows.core", "flows.server", "flows.release", "flows.doctor"),
    *("flows.pipeline", "flows.reproduce", "flows.ingest", "flows.retrain", "flows.gate_and_release"),
    *("flows.rollback", "flows.deprecate", "flows.__main__"),
)
SIBLINGS = {"flows": 13, "tasks": 13, "models": 8}
FILES = [file for top in SIBLINGS for file in sorted((ROOT / top).rglob("*.py"))]


def package_of(file: Path) -> str:
    return ".".join(file.relative_to(ROOT).with_suffix("").parts[:2])


@pytest.mark.parametrize("top", SIBLINGS)
def test_a_top_level_package_has_few_siblings(top: str) -> None:
    found = {package_of(file) for file in FILES} - {f"{top}.__init__"}
    assert len([name for name in found if name.startswith(f"{top}.")]) <= SIBLINGS[top]


def test_the_order_names_every_package_once() -> None:
    inits = {f"{top}.__init__" for top in SIBLINGS}
    assert sorted(ORDER) == sorted({package_of(file) for file in FILES} - inits)


@pytest.mark.parametrize("package", ORDER)
def test_imports_point_one_way(package: str) -> None:
    """Flows import tasks and their own packages, tasks import models, and nothing imports what stands after it."""
    before = set(ORDER[: ORDER.index(package) + 1])
    if package.startswith("flows."):  # which load no torch
        before = {name for name in before if not name.startswith("models.")}
    for file in FILES:
        if package_of(file) == package:
            used = {".".join(name.split(".")[:2]) for name in imported(file)} & set(ORDER)
            assert used <= before, file
