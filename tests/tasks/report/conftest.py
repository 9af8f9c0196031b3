"""A project of its own for each test, and the page as it is read."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tasks.common.paths import work_folder
from tasks.report.page import render
from tasks.report.plots import Panel, Plot, draw
from tests.tasks.report import standing


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A fresh clone, with its own `.work`."""
    monkeypatch.chdir(tmp_path)
    work_folder.cache_clear()
    standing.fill_start()
    yield tmp_path
    work_folder.cache_clear()


DRAWN: dict[str, Panel] = {}


@pytest.fixture
def rendered_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plots like one that was drawn before are not drawn again: nearly all of the time goes there."""

    def render_once(plot: Plot, salt: str) -> Panel:
        key = repr((plot, salt))
        DRAWN[key] = DRAWN.get(key) or draw(plot, salt)
        return DRAWN[key]

    for module in ("curves", "evaluators"):
        monkeypatch.setattr(f"tasks.report.{module}.draw", render_once)


@pytest.fixture
def read(project: Path, rendered_once: None) -> Callable[[], str]:
    """What a reader reads of the page: no tags, styles, scripts or drawings, single spaces."""
    return lambda: text(render())


def text(page: str) -> str:
    """What a reader reads of HTML."""
    body = page[page.find("<body>") :]
    read = re.sub(r"<(svg|script).*?</\1>|<[^>]+>", " ", body, flags=re.DOTALL).replace("&#39;", "'")
    return " ".join(read.split())
