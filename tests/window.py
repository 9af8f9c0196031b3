"""A real browser for tests: Debian's chromium, and a window in it that notes what goes wrong."""

import io
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest
from PIL import Image
from playwright.sync_api import Browser, ConsoleMessage, Locator, Request, Response, sync_playwright

ROOT = Path(__file__).parents[1]
PICTURES = os.environ.get("PICTURES")  # the folder, from the project's root, in which windows are kept as pictures
HOSTS = "MAP lan.test 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"  # no other can be reached
OPTIONS = ["--no-sandbox", "--disable-gpu", f"--host-resolver-rules={HOSTS}"]
LOADING = "Failed to load resource"  # the console's words for an answer, which `refused` has with its address
COLOURS = 128
SECONDS_TO_GO = 10.0
PATIENCE, SETTLING = 60_000, 3_000  # milliseconds


class Window:
    """`page`; `errors` on its console, what scripts have `thrown`, answers that `refused` it, `strangers` it asked."""

    def __init__(self, browser: Browser, size: tuple[int, int]) -> None:
        self.errors: list[str] = []
        self.thrown: list[str] = []
        self.refused: list[str] = []
        self.strangers: list[str] = []
        self.page = browser.new_page(viewport={"width": size[0], "height": size[1]}, color_scheme="dark")
        self.page.set_default_timeout(PATIENCE)
        self.page.on("console", self._hear)
        self.page.on("pageerror", lambda error: self.thrown.append(str(error)))
        self.page.on("request", self._ask)
        self.page.on("response", self._take)

    def keep(self, name: str, height: int) -> None:
        """Writes what the window shows, made so high, as NAME.png into the folder PICTURES, if that is set."""
        if PICTURES is None:
            return
        width = self.page.evaluate("innerWidth")
        self.page.set_viewport_size({"width": width, "height": height})
        self.page.wait_for_timeout(SETTLING)
        path = ROOT / PICTURES / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        with Image.open(io.BytesIO(self.page.screenshot())) as image:
            image.convert("RGB").quantize(COLOURS).save(path, optimize=True)

    def _hear(self, line: ConsoleMessage) -> None:
        if line.type == "error" and not line.text.startswith(LOADING):
            self.errors.append(line.text)

    def _ask(self, request: Request) -> None:
        asked, here = urlsplit(request.url), urlsplit(self.page.url)
        own = asked.scheme in ("data", "blob") or request.is_navigation_request()
        if not own and (asked.scheme == "file" or asked.netloc != here.netloc):
            self.strangers.append(request.url)

    def _take(self, answer: Response) -> None:
        if answer.status >= 400:
            self.refused.append(f"{answer.status} {urlsplit(answer.url).path}")


def colours(place: Locator) -> int:
    """How many colours are seen there."""
    with Image.open(io.BytesIO(place.screenshot())) as image:
        return len(image.convert("RGB").getcolors(image.width * image.height) or [])


@contextmanager
def open_browser() -> Iterator[Browser]:
    """Starts the browser, of which nothing may be left afterwards; skips the test where there is none."""
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("needs Debian's package chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=OPTIONS)
        yield browser
        family = [one for one in psutil.Process().children(recursive=True) if "chrom" in one.name()]
        browser.close()
    _, left = psutil.wait_procs(family, timeout=SECONDS_TO_GO)
    assert not left
