"""A new project for each test, and the text of its page."""

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
    """Makes a fresh clone, with its own `.work`."""
    monkeypatch.chdir(tmp_path)
    work_folder.cache_clear()
    standing.fill_start()
    yield tmp_path
    work_folder.cache_clear()


RENDERED: dict[str, Panel] = {}


@pytest.fixture
def rendered_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Renders equal plots once, because plots take nearly all of the time."""

    def render_once(plot: Plot, salt: str) -> Panel:
        key = repr((plot, salt))
        RENDERED[key] = RENDERED.get(key) or draw(plot, salt)
        return RENDERED[key]

    for module in ("plots", "evaluators"):
        monkeypatch.setattr(f"tasks.report.{module}.draw", render_once)


@pytest.fixture
def read(project: Path, rendered_once: None) -> Callable[[], str]:
    """Returns the page's text: no tags, styles, scripts or plots, single spaces."""
    return lambda: text(render())


def text(page: str) -> str:
    """Returns the visible text of HTML."""
    body = page[page.find("<body>") :]
    read = re.sub(r"<(svg|script).*?</\1>|<[^>]+>", " ", body, flags=re.DOTALL).replace("&#39;", "'")
    return " ".join(read.split())
