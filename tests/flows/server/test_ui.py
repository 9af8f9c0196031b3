"""Prefect's UI in a real browser, with the real pipeline on digits.

`make pictures` also writes screenshots for the documentation, and trains longer for them.
"""

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Any

import psutil
import pytest
from playwright.sync_api import Browser, Error, Locator, Page, expect

from tests.flows.conftest import until
from tests.flows.server.running_server import UNFINISHED, RunningServer
from tests.window import PICTURES, Window, colours, open_browser

pytestmark = pytest.mark.long

TINY = """
threads: 1
reference: {channels: 8, stop: {n_images: 48000}}
reference_second: {network: random}
train_gan: {channels: 8, conditional: 'on', log_every: 640, probe_every: 6400, checkpoint_every: 6400}
evaluate: {n_images: 500, subsets: 10, accuracy_epochs: 1}
bundle: {golden: 4}
gate:
  limits: {fd_relative: 100.0, precision: 0.0, coverage: 0.0, memorised: 1.0, label_share: 0.0}
  bootstrap_samples: 100
"""
EVALUATORS = ("reference", "reference_second")
STAGES = {"preprocess", *EVALUATORS, "train_gan", "export_gan", "evaluate_gan", "bundle_gan"}
STEPS = {"gate_gan", "report", "pack", "push", "release"}
FEW, MANY = 6400, 1_000_000 if PICTURES else 100_000_000  # images to train on
SEVERAL, WATCHED = (
    (100_000, 60) if PICTURES else (FEW, 0)
)  # images to train on, and seconds of training before the screenshot
SIZE = (1280, 800)
SECONDS_TO_START, SECONDS_TO_END = 40.0, 15.0  # beside other tests; alone, half of the first
BLOCKED = "amplitude.com"  # Prefect's UI requests it, and our Content-Security-Policy blocks that
MISSING = re.compile(
    r"404 /[\w-]+\.(svg|ico|png)|422 /api/task_runs/filter"
)  # icons; the task run of an artifact that a flow created
PAINTED = 30  # colours; an image with more shows something


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as one:
        yield one


class PipelineServer(RunningServer):
    """A server with the real pipeline, digits and a preset `tiny`, all committed; the evaluators are in DVC's cache."""

    def prepare(self) -> None:
        (self / "presets/tiny.yaml").write_text(TINY)
        self.run_checked("python", "-m", "tasks.ingest", "digits")
        for command in ("config user.name Test", "config user.email test@example.com", "add -A", "commit -qm Tiny"):
            self.run_checked("git", *command.split())
        self.run_checked("python", "-m", "tasks.common.presets", "tiny", "--force")
        self.run_checked("dvc", "repro", "-q", *EVALUATORS)
        self.run_checked("git", "checkout", "-q", ".")  # the results stay in DVC's cache


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A running server; no process may outlive it."""
    one = PipelineServer(tmp_path_factory.mktemp("ui") / "project")
    one.up()
    yield one
    one.run("down")
    assert not list(one.processes())


@contextmanager
def error_free(browser: Browser) -> Iterator[Window]:
    """A window that fails the test on console errors, failed requests, and requests to other hosts.

    Exceptions of scripts are allowed: Prefect's graph raises some when the page is left.
    """
    one = Window(browser, SIZE)
    yield one
    one.page.close()
    errors = [line for line in one.errors if BLOCKED not in line]
    refused = [answer for answer in one.refused if not MISSING.fullmatch(answer)]
    assert (errors, refused, one.strangers) == ([], [], [])


@pytest.fixture
def window(browser: Browser, server: RunningServer) -> Iterator[Window]:
    with error_free(browser) as one:
        yield one
    unfinished = {"flow_runs": {"state": {"type": {"any_": sorted(UNFINISHED)}}}}  # a failed test left them
    for run in server.api("/flow_runs/filter", unfinished):
        server.api(f"/flow_runs/{run['id']}/set_state", {"state": {"type": "CANCELLING"}})
    until(lambda: not server.api("/flow_runs/filter", unfinished))


@pytest.fixture(scope="module")
def released(browser: Browser, server: RunningServer) -> str:
    """The id of a run that was submitted in the form and ended with a release."""
    with error_free(browser) as window:
        if PICTURES:  # creates a live model to compare with
            fill_form(server, window.page, seed=1, stop__n_images=FEW)
            wait_for_end(server, window.page, submit(window.page))
        fill_form(server, window.page, seed=2, stop__n_images=SEVERAL)
        field(window.page, "preset").scroll_into_view_if_needed()
        window.keep("form", 1000)
        run = submit(window.page)
        wait_for_end(server, window.page, run)
        return run


def test_the_form_refuses_a_value_out_of_range_with_the_reason(server: RunningServer, window: Window) -> None:
    page = window.page
    fill_form(server, page, seed=-1)
    page.get_by_role("button", name="Submit").click()
    seed = field(page, "overrides.train_gan.seed").locator("input")
    assert seed.evaluate("one => one.validationMessage") == "Value must be greater than or equal to 0."
    assert seed.evaluate("one => one === document.activeElement")  # where the browser shows the reason
    assert server.api("/flow_runs/filter", {}) == []


def test_a_training_is_watched_and_cancelled(server: RunningServer, window: Window) -> None:
    page = window.page
    fill_form(server, page, seed=0, stop__n_images=MANY)
    clicked = time.time()
    run = submit(page)
    scroll_to(page, page.get_by_text("Stage 'preprocess' is cached"), over=page.get_by_text("submitting flow run"))
    shown, written = time.time() - clicked, first_line(server, run) - clicked
    print(f"first line of the first stage: written {written:.1f} s after the click, on the page after {shown:.1f} s")
    assert written < SECONDS_TO_START
    state(page, "Running")
    page.goto("about:blank")  # without a graphics card, the graph takes processor time from the training
    until(lambda: has_picture(server, run, "train-gan-live"), seconds=240)
    time.sleep(WATCHED)
    open_artifact(server, page, run, "train-gan-live")
    expect(page.locator("main")).to_contain_text("images per second")
    window.keep("live", 1060)
    check_pictures(page, 1)
    [trainer] = trainers(server)
    clicked = cancel(server, page, run)
    until(lambda: not trainer.is_running(), SECONDS_TO_END)
    print(f"from the click that cancels to the trainer's end: {time.time() - clicked:.1f} s")
    state(page, "Cancelled")
    assert [*(server / ".work/checkpoints/train_gan").rglob("checkpoint.safetensors")]


def test_the_page_of_a_run_shows_its_graph(server: RunningServer, window: Window, released: str) -> None:
    page = window.page
    graphs: list[Any] = []
    page.on("response", lambda answer: graphs.append(answer.json()) if answer.url.endswith("/graph-v2") else None)
    open_run(server, page, released, "Task Runs")
    state(page, "Released")
    for name in ("preprocess", *EVALUATORS):
        expect(task(page, name).get_by_text("Cached")).to_be_visible()
    assert {node["label"] for _, node in graphs[-1]["nodes"]} == STAGES | STEPS
    until(lambda: colours(page.locator("canvas")) > PAINTED)
    window.keep("run", 800)


def test_the_verdict_shows_what_was_compared(server: RunningServer, window: Window, released: str) -> None:
    page = window.page
    open_artifact(server, page, released, "verdict")
    expect(page.get_by_text(re.compile(r"GAN blessed, and released as gan@v1\.\d\.0")).first).to_be_visible()
    window.keep("verdict", 1110)
    check_pictures(page, 2 if PICTURES else 1)


def test_samples_and_the_report_are_clicks_away(server: RunningServer, window: Window, released: str) -> None:
    page = window.page
    open_artifact(server, page, released, "samples")
    check_pictures(page, 1)
    open_artifact(server, page, released, "report")
    page.get_by_role("link", name="Report of this run").click()
    page.wait_for_url(f"http://127.0.0.1:{server.port}/reports/*/index.html")
    expect(page.get_by_role("heading", level=1)).to_be_visible()


def fill_form(server: RunningServer, page: Page, **overrides: int) -> None:
    """Goes from the start page to the form of a run and fills it in."""
    page.goto(f"http://127.0.0.1:{server.port}")
    page.get_by_role("link", name="Deployments").click()
    page.wait_for_url("**/deployments*")  # the start page has links of that name, too
    page.get_by_role("link", name="retrain", exact=True).first.click()
    page.get_by_role("button", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Custom run").click()
    choose(page, "preset", "tiny")
    choose(page, "models", "gan")
    for key, value in overrides.items():
        field(page, f"overrides.train_gan.{key.replace('__', '.')}").locator("input").fill(str(value))


def field(page: Page, key: str) -> Locator:
    """The form's field with a dotted key."""
    found = page.locator("form")
    for part in key.split("."):
        found = found.locator(f'div:has(> div > div > label:text-is("{part} (Optional)"))')
    return found


def choose(page: Page, key: str, option: str) -> None:
    field(page, key).get_by_role("button", name=f"Select {key}").click()
    page.get_by_role("option", name=option).click()


def submit(page: Page) -> str:
    """Submits the form and opens the page of the run; returns the run's id."""
    page.get_by_role("button", name="Submit").click()
    page.get_by_role("button", name="View run").click()
    page.wait_for_url("**/flow-run/*")
    return page.url.partition("/flow-run/")[2].partition("?")[0]


def wait_for_end(server: RunningServer, page: Page, run: str) -> None:
    page.goto("about:blank")
    server.wait(run, "COMPLETED", seconds=600)


def open_run(server: RunningServer, page: Page, run: str, tab: str) -> None:
    page.goto(f"http://127.0.0.1:{server.port}/v2/runs/flow-run/{run}")
    page.get_by_role("tab", name=tab).click()


def open_artifact(server: RunningServer, page: Page, run: str, key: str) -> None:
    """Clicks from the run's page to the newest artifact with that key."""
    open_run(server, page, run, "Artifacts")
    page.get_by_role("link").filter(has=page.get_by_text(key, exact=True)).click()
    page.wait_for_url("**/artifacts/key/*")
    page.locator("main a[href*='/artifacts/artifact/']").first.click()
    expect(page.get_by_role("tab", name="Raw")).to_be_visible()


def cancel(server: RunningServer, page: Page, run: str) -> float:
    """Cancels a run by clicks; returns the time of the last one."""
    open_run(server, page, run, "Logs")
    page.get_by_role("button", name="Open menu").first.click()
    page.get_by_role("menuitem", name="Cancel").click()
    button = page.get_by_role("button", name="Cancel Flow Run")
    expect(button).to_be_visible()
    clicked = time.time()
    button.click()
    return clicked


def task(page: Page, name: str) -> Locator:
    """The row of a task run on the run's page."""
    return page.get_by_role("listitem").filter(has=page.get_by_role("link", name=name, exact=True)).first


def state(page: Page, name: str) -> None:
    """Waits until the page of the run shows this state."""
    expect(page.locator("main").get_by_text(name, exact=True).first).to_be_visible(timeout=60_000)


def scroll_to(page: Page, line: Locator, over: Locator) -> None:
    """Scrolls until a line is shown; a long list renders only its visible part."""
    over.hover()
    until(lambda: line.is_visible() or page.mouse.wheel(0, 200), seconds=60)


def check_pictures(page: Page, number: int) -> None:
    """Asserts that the page has `number` images and that none is blank."""
    images = page.locator("main img:visible")
    expect(images).to_have_count(number)
    for image in images.all():
        assert image.evaluate("one => one.decode().then(() => one.naturalWidth)") > 0
        until(lambda image=image: is_painted(image))


def first_line(server: RunningServer, run: str) -> float:
    """The time of the first log line of a run's first task, in seconds since the epoch."""
    wanted = {"logs": {"flow_run_id": {"any_": [run]}}, "sort": "TIMESTAMP_ASC", "limit": 200}
    lines = [line for line in server.api("/logs/filter", wanted) if line["task_run_id"]]
    return datetime.fromisoformat(lines[0]["timestamp"]).timestamp()


def is_painted(image: Locator) -> bool:
    """Whether an image is not blank; False while the page replaces it."""
    with suppress(Error):
        return colours(image) > PAINTED
    return False


def has_picture(server: RunningServer, run: str, key: str) -> bool:
    """Whether a run's artifact contains an image."""
    wanted = {"artifacts": {"flow_run_id": {"any_": [run]}, "key": {"any_": [key]}}}
    return any("data:image" in one["data"] for one in server.api("/artifacts/filter", wanted))


def trainers(server: RunningServer) -> list[psutil.Process]:
    """The processes that train the GAN."""
    worker = psutil.Process(server.pids()["worker"])
    return [one for one in worker.children(recursive=True) if one.cmdline()[1:] == ["-m", "tasks.train.gan"]]
