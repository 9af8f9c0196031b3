"""The report in a real browser, opened from disk without a network, on a phone and on a desk."""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tasks.report.page import write_report
from tests.tasks.report import standing

OPTIONS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--host-resolver-rules=MAP * ~NOTFOUND",
    "--enable-logging=stderr",
    "--virtual-time-budget=5000",
]
SIZES = [(390, 844), (1280, 900)]  # a phone and a desk
FRAME = """<!doctype html><body style="margin:0">
<iframe src="visit.html" style="width:{0}px;height:{1}px;border:0"></iframe>
<script>addEventListener("message", (event) => {{
  document.body.append(Object.assign(document.createElement("pre"), {{ textContent: event.data }}));
}});</script>"""  # a frame, since no window is as narrow as a phone
VISITOR = Path(__file__).with_name("visitor.js")


def browse(folder: Path, *more: str) -> subprocess.CompletedProcess[str]:
    """Runs the browser; skips the test where there is none."""
    browser = shutil.which("chromium")
    if browser is None:
        pytest.skip("needs Debian's package chromium")
    command = [browser, *OPTIONS, f"--user-data-dir={folder / 'profile'}", *more]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)


def visit(folder: Path, size: tuple[int, int]) -> tuple[dict[str, Any], list[str]]:
    """What a visitor with a screen of this size finds in the page, and what the browser's console holds."""
    page = (
        (folder / "report/index.html").read_text().replace("</body>", f"<script>{VISITOR.read_text()}</script></body>")
    )
    (folder / "visit.html").write_text(page)
    (folder / "frame.html").write_text(FRAME.format(*size))
    ended = browse(folder, "--dump-dom", "--window-size=1400,1000", (folder / "frame.html").as_uri())
    told = re.search(r"<pre>(.*?)</pre>", ended.stdout, flags=re.DOTALL)
    assert told, ended.stderr
    return json.loads(html.unescape(told[1])), [line for line in ended.stderr.splitlines() if "CONSOLE" in line]


@pytest.fixture
def report(project: Path, drawn_once: None) -> Path:
    """The folder of a project whose report was written."""
    standing.fill_everything()
    write_report()
    return project


def test_a_browser_shows_the_report_from_disk(report: Path) -> None:
    shot = report / "shot.png"
    browse(report, f"--screenshot={shot}", "--window-size=1200,900", (report / "report/index.html").as_uri())
    pixels = np.asarray(Image.open(shot).convert("L"))
    top = pixels[:700]
    assert len(np.unique(pixels)) > 100  # pictures are there, not only text on a plain ground
    assert (top != np.median(top)).mean() > 0.15


@pytest.mark.parametrize("size", SIZES)
def test_the_page_fits_works_and_asks_for_nothing(report: Path, size: tuple[int, int]) -> None:
    found, console = visit(report, size)
    assert console == []
    assert found["requests"] == []
    assert found["size"] == list(size)
    assert found["width"] <= size[0], found["wide"]
    assert found["sorted"] == {
        "before": ["0.0639", "0.0423"],
        "once": ["0.0423", "0.0639"],
        "marked": "ascending",
        "twice": ["0.0639", "0.0423"],
        "text": ["<b>Coat</b>", "Bag"],
    }
    assert found["numbers"] == ["1.50", "2.90", "21.4", "1,234", "-"]  # as numbers, the one without a value last
    assert found["zoom"] == {"before": False, "open": True, "larger": True, "same": True, "closed": True}
    assert found["tip"] == "second judge: 0.310 at 1"
    assert found["smallest"] >= 11  # pixels that letters are high, anywhere


def test_the_page_reads_without_scripts(report: Path) -> None:
    page = (report / "report/index.html").read_text()
    bare = re.sub(r"<script>.*?</script>", "", page, flags=re.DOTALL)
    assert "<button" not in bare and "<dialog" not in bare  # nothing that would do nothing
    (report / "bare.html").write_text(bare)
    ended = browse(report, "--dump-dom", (report / "bare.html").as_uri())
    assert "Relative Fréchet distance" in ended.stdout


def test_a_page_that_asks_for_something_is_caught(report: Path) -> None:
    page = report / "report/index.html"
    page.write_text(page.read_text().replace("<h1>", '<img src="https://example.org/x.png"><h1>'))
    found, console = visit(report, SIZES[0])
    assert found["requests"] == ["https://example.org/x.png"]
    assert "Content Security Policy" in console[0]
