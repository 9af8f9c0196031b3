"""A project whose models are exported and evaluated, and a bundle of one."""

from pathlib import Path

import pytest

from tasks.bundle.faults import write_sums
from tasks.bundle.folder import write_bundle
from tests.tasks.bundle.exported import SETTINGS, THREADS, fill


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    fill(tmp_path)
    return tmp_path


@pytest.fixture
def bundle(project: Path) -> Path:
    """A finished bundle of the GAN."""
    write_bundle("gan", SETTINGS, THREADS)
    return project / "data/bundle/gan"


@pytest.fixture
def shipped(project: Path, bundle: Path) -> Path:
    """A bundle as it is released: with a lineage, listed like everything else."""
    for name, text in (("lineage.json", '{"model": "gan"}\n'), ("RELEASE.md", "# gan@v1.0.0\n")):
        (bundle / name).write_text(text)
    write_sums(bundle)
    return bundle
