"""The web example, built, served and visited."""

import base64
import io
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from playwright.sync_api import Page

DONE = "html[data-state]"


class Quiet(SimpleHTTPRequestHandler):
    """A server of files that writes no log."""

    def log_message(self, *_: Any) -> None:
        """Says nothing."""


def build(example: Path, bundle: Path, target: Path) -> subprocess.CompletedProcess[str]:
    """`npm run build` for a bundle."""
    command = ["npm", "run", "--silent", "build", "--", str(bundle), str(target)]
    return subprocess.run(command, cwd=example, capture_output=True, text=True, check=False)


@contextmanager
def serving(folder: Path) -> Iterator[int]:
    """Serves a folder's files; gives the port."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


class Visit:
    """A page, what its console said, and which addresses it asked for."""

    def __init__(self, page: Page, address: str) -> None:
        self.page, self.address = page, address
        self.console: list[str] = []
        self.requests: list[str] = []
        page.on("console", lambda message: self.console.append(message.text))
        page.on("pageerror", lambda error: self.console.append(str(error)))
        page.on("request", lambda request: self.requests.append(request.url))

    def open(self) -> str:
        """Goes there and waits until the page is ready or has failed, and says which."""
        self.page.goto(self.address)
        self.page.wait_for_selector(DONE, timeout=60_000)
        return str(self.page.evaluate("document.documentElement.dataset.state"))

    def picture(self, canvas: str) -> np.ndarray[Any, Any]:
        """The pixels of a canvas, [H, W, 3]."""
        url = self.page.eval_on_selector(canvas, "(canvas) => canvas.toDataURL().split(',')[1]")
        return decode(url)

    def pictures(self, canvases: str) -> list[np.ndarray[Any, Any]]:
        """The pixels of several canvases."""
        script = "(all) => all.map((canvas) => canvas.toDataURL().split(',')[1])"
        return [decode(url) for url in self.page.eval_on_selector_all(canvases, script)]

    def slide(self, slider: str, value: float) -> None:
        """Puts a slider where a person would drag it."""
        script = "(slider, value) => { slider.value = value; slider.dispatchEvent(new Event('input')); }"
        self.page.eval_on_selector(slider, script, value)
        self.settle()

    def settle(self) -> None:
        """Waits until what was asked for is drawn."""
        self.page.wait_for_selector("main[aria-busy=false]", timeout=60_000)


def decode(text: str) -> np.ndarray[Any, Any]:
    """The pixels of a PNG file in base64, [H, W, 3]."""
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(text))).convert("RGB"), np.int16)
