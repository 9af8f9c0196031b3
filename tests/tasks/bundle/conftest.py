"""A project whose models are exported and judged, and a bundle made of it."""

from pathlib import Path

import pytest

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
