"""The report in a real browser, opened from disk without a network, on a phone and on a desk."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tasks.report.page import write_report
from tests.tasks.report import standing
from tests.window import Window, colours, open_browser

PHONE, DESK = (390, 844), (1280, 900)
PAGE = "report/index.html"
COLUMN = "(table, at) => [...table.tBodies[0].rows].map((row) => row.cells[at].firstChild.textContent.trim())"
FILL = """(table, values) => {
  const row = table.tBodies[0].rows[0];
  table.tBodies[0].replaceChildren(...values.map(() => row.cloneNode(true)));
  values.forEach((value, at) => table.tBodies[0].rows[at].cells[1].replaceChildren(value));
}"""
LETTERS = """() => {
  const all = (selector) => [...document.querySelectorAll(selector)];
  const own = (node) => [...node.childNodes].some((one) => one.nodeType === 3 && one.data.trim());
  const high = (one) => parseFloat(getComputedStyle(one).fontSize);
  const scale = (svg) => svg.getBoundingClientRect().width / svg.viewBox.baseVal.width;
  const heights = all("body *:not(script):not(svg *)").filter(own).map(high);
  // Text in plots may be a little smaller.
  const plotted = all("svg text").map((text) => 1.25 * high(text) * scale(text.ownerSVGElement));
  return Math.min(...heights, ...plotted);
}"""
WIDE = """() => [...document.querySelectorAll("body *")]
  .filter((one) => one.getBoundingClientRect().right > innerWidth && !one.closest(".scroll, pre"))
  .map((one) => one.outerHTML.slice(0, 120))"""
POINT = """(figure) => {
  const [left, top] = JSON.parse(figure.dataset.lines)[1].points[1];
  const area = figure.querySelector(".canvas").getBoundingClientRect();
  return { x: left * area.width, y: top * area.height };
}"""

Visit = Callable[[tuple[int, int]], Window]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as one:
        yield one


@pytest.fixture
def report(project: Path, rendered_once: None) -> Path:
    """The folder of a project whose report was written."""
    standing.fill_everything()
    write_report()
    return project


@pytest.fixture
def visit(browser: Browser, report: Path) -> Iterator[Visit]:
    """Opens the report in a window of some size."""
    windows: list[Window] = []

    def open_at(size: tuple[int, int]) -> Window:
        windows.append(Window(browser, size))
        windows[-1].page.goto((report / PAGE).as_uri())
        return windows[-1]

    yield open_at
    for window in windows:
        window.page.close()


def table_with(page: Page, word: str) -> Locator:
    return page.locator("table.sortable").filter(has=page.locator("thead", has_text=word)).first


def press(table: Locator, at: int) -> None:
    table.locator("thead tr").first.locator("th, td").nth(at).get_by_role("button").click()


@pytest.mark.parametrize("size", [PHONE, DESK])
def test_the_page_fits_and_asks_for_nothing(visit: Visit, size: tuple[int, int]) -> None:
    window = visit(size)
    assert window.page.evaluate("document.documentElement.scrollWidth") <= size[0], window.page.evaluate(WIDE)[:5]
    assert window.page.evaluate(LETTERS) >= 11  # pixels that letters are high, anywhere
    assert window.errors == window.thrown == window.strangers == []


def test_pictures_are_there(visit: Visit) -> None:
    page = visit(DESK).page
    for picture in page.locator("figure.picture img").all():
        assert picture.evaluate("one => one.decode().then(() => one.naturalWidth)") > 0
    assert colours(page.locator("body")) > 100


def test_tables_are_sorted_by_a_click(visit: Visit) -> None:
    page = visit(DESK).page
    table = table_with(page, "Left out")
    assert table.evaluate(COLUMN, 1) == ["0.0639", "0.0423"]
    press(table, 1)
    assert table.evaluate(COLUMN, 1) == ["0.0423", "0.0639"]
    expect(table.locator("thead tr").first.locator("th, td").nth(1)).to_have_attribute("aria-sort", "ascending")
    press(table, 1)
    assert table.evaluate(COLUMN, 1) == ["0.0639", "0.0423"]
    press(table, 0)
    assert table.evaluate(COLUMN, 0) == ["<b>Coat</b>", "Bag"]


def test_numbers_are_sorted_as_numbers_with_the_missing_last(visit: Visit) -> None:
    table = table_with(visit(DESK).page, "Margin")
    table.evaluate(FILL, ["1,234", "-", "21.4", "2.90", "1.50"])
    press(table, 1)
    assert table.evaluate(COLUMN, 1) == ["1.50", "2.90", "21.4", "1,234", "-"]


@pytest.mark.parametrize("size", [PHONE, DESK])
def test_a_picture_is_enlarged_by_a_click(visit: Visit, size: tuple[int, int]) -> None:
    page = visit(size).page
    picture, dialog = page.locator("figure.picture img").first, page.locator("dialog")
    expect(dialog).to_be_hidden()
    picture.click()
    large = dialog.locator("img")
    expect(large).to_be_visible()
    assert large.get_attribute("src") == picture.get_attribute("src")
    small, wide = picture.bounding_box(), large.bounding_box()
    assert small and wide and wide["width"] > 1.3 * small["width"]
    dialog.get_by_role("button").click()
    expect(dialog).to_be_hidden()


def test_a_plot_shows_its_values(visit: Visit) -> None:
    plot = visit(DESK).page.locator("figure.plot").filter(has_text="Blur")
    plot.locator(".canvas").hover(position=plot.evaluate(POINT))
    expect(plot.locator(".tip")).to_be_visible()
    expect(plot.locator(".tip")).to_have_text("second evaluator: 0.310 at 1")


def test_the_page_reads_without_scripts(visit: Visit, report: Path) -> None:
    text = (report / PAGE).read_text()
    bare = re.sub(r"<script>.*?</script>", "", text, flags=re.DOTALL)
    assert "<button" not in bare and "<dialog" not in bare  # without a script, they would do nothing
    (report / PAGE).write_text(bare)
    expect(visit(DESK).page.get_by_text("Relative Fréchet distance").first).to_be_visible()


def test_a_page_that_asks_for_something_is_caught(visit: Visit, report: Path) -> None:
    page = report / PAGE
    page.write_text(page.read_text().replace("<h1>", '<img src="https://example.org/x.png"><h1>'))
    window = visit(PHONE)
    assert any("Content Security Policy" in line for line in window.errors)
