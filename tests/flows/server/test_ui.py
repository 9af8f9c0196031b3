"""What a person sees and does in Prefect's UI, in a real browser: the real pipeline on real digits in a box.

`make pictures` also keeps what it saw as the pictures of the documentation; it trains for longer, so that there is
something to see.
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
from tests.flows.server.running_server import UNFINISHED, Box
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
SEVERAL, WATCHED = (100_000, 60) if PICTURES else (FEW, 0)  # images, and seconds of a training before it is looked at
SIZE = (1280, 800)
SECONDS_TO_START, SECONDS_TO_END = 40.0, 15.0  # beside other tests; alone, half of the first
MILLISECONDS = 1000.0
ASKED = "amplitude.com"  # by Prefect, which the box forbids
LACKING = re.compile(r"404 /[\w-]+\.(svg|ico|png)|422 /api/task_runs/filter")  # icons; the task of what a flow made
PAINTED = 30  # colours, of a picture that shows something


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as one:
        yield one


class PageReader(Box):
    """A box with the real pipeline, digits and a preset `tiny`, all committed; what judges was made once."""

    def furnish(self) -> None:
        (self / "presets/tiny.yaml").write_text(TINY)
        self.must("python", "-m", "tasks.ingest", "digits")
        for command in ("config user.name Test", "config user.email test@example.com", "add -A", "commit -qm Tiny"):
            self.must("git", *command.split())
        self.must("python", "-m", "tasks.common.presets", "tiny", "--force")
        self.must("dvc", "repro", "-q", *EVALUATORS)
        self.must("git", "checkout", "-q", ".")  # it stays in DVC's cache


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    """A mint that is up; nobody may outlive it."""
    one = PageReader(tmp_path_factory.mktemp("ui") / "project")
    one.up()
    yield one
    one.run("down")
    assert not list(one.processes())


@contextmanager
def flawless(browser: Browser) -> Iterator[Window]:
    """A window in which nothing may go wrong, and that may ask nobody but the box.

    What its scripts throw is Prefect's affair: its graph does, once it is left.
    """
    one = Window(browser, SIZE)
    yield one
    one.page.close()
    assert [line for line in one.errors if ASKED not in line] == []
    assert [answer for answer in one.refused if not LACKING.fullmatch(answer)] == []
    assert one.strangers == []


@pytest.fixture
def window(browser: Browser, box: Box) -> Iterator[Window]:
    with flawless(browser) as one:
        yield one
    end_runs(box)


@pytest.fixture(scope="module")
def released(browser: Browser, box: Box) -> str:
    """The id of a run that was asked for in the form and has ended with a release."""
    with flawless(browser) as window:
        if PICTURES:  # then there is a live model to compare with
            fill_form(box, window.page, seed=1, stop__n_images=FEW)
            wait_for_end(box, window.page, submit(window.page))
        fill_form(box, window.page, seed=2, stop__n_images=SEVERAL)
        field(window.page, "preset").scroll_into_view_if_needed()
        window.keep("form", 1000)
        run = submit(window.page)
        wait_for_end(box, window.page, run)
        return run


def test_a_value_out_of_range_is_refused_with_its_reason(box: Box, window: Window) -> None:
    page = window.page
    fill_form(box, page, seed=-1)
    page.get_by_role("button", name="Submit").click()
    asked = field(page, "overrides.train_gan.seed").locator("input")
    assert asked.evaluate("one => one.validationMessage") == "Value must be greater than or equal to 0."
    assert asked.evaluate("one => one === document.activeElement")  # where the browser shows the reason
    assert box.api("/flow_runs/filter", {}) == []


def test_a_training_is_watched_and_cancelled(box: Box, window: Window) -> None:
    page = window.page
    fill_form(box, page, seed=0, stop__n_images=MANY)
    asked = time.time()
    run = submit(page)
    scroll_to(page, page.get_by_text("Stage 'preprocess' is cached"), over=page.get_by_text("submitting flow run"))
    seen, written = time.time() - asked, first_line(box, run) - asked
    print(f"first line of the first stage: written {written:.1f} s after the click, on the page after {seen:.1f} s")
    assert written < SECONDS_TO_START
    state(page, "Running")
    page.goto("about:blank")  # to draw the graph without a graphics card is work
    until(lambda: has_picture(box, run, "train-gan-live"), seconds=240)
    time.sleep(WATCHED)
    open_artifact(box, page, run, "train-gan-live")
    expect(page.locator("main")).to_contain_text("images per second")
    window.keep("live", 1060)
    check_pictures(page, 1)
    [trainer] = trainers(box)
    asked = cancel(box, page, run)
    until(lambda: not trainer.is_running(), SECONDS_TO_END)
    print(f"from the click that cancels to the trainer's end: {time.time() - asked:.1f} s")
    state(page, "Cancelled")
    assert [*(box / ".work/checkpoints/train_gan").rglob("checkpoint.safetensors")]


def test_the_page_of_a_run_draws_its_graph(box: Box, window: Window, released: str) -> None:
    page = window.page
    graphs: list[Any] = []
    page.on("response", lambda answer: graphs.append(answer.json()) if answer.url.endswith("/graph-v2") else None)
    open_run(box, page, released, "Task Runs")
    state(page, "Released")
    for name in ("preprocess", *EVALUATORS):
        expect(task(page, name).get_by_text("Cached")).to_be_visible()
    assert {node["label"] for _, node in graphs[-1]["nodes"]} == STAGES | STEPS
    until(lambda: colours(page.locator("canvas")) > PAINTED)
    window.keep("run", 800)


def test_the_verdict_shows_what_was_compared(box: Box, window: Window, released: str) -> None:
    page = window.page
    open_artifact(box, page, released, "verdict")
    expect(page.get_by_text(re.compile(r"GAN blessed, and released as gan@v1\.\d\.0")).first).to_be_visible()
    window.keep("verdict", 1110)
    check_pictures(page, 2 if PICTURES else 1)


def test_samples_and_the_report_are_clicks_away(box: Box, window: Window, released: str) -> None:
    page = window.page
    open_artifact(box, page, released, "samples")
    check_pictures(page, 1)
    open_artifact(box, page, released, "report")
    page.get_by_role("link", name="Report of this run").click()
    page.wait_for_url(f"http://127.0.0.1:{box.port}/reports/*/index.html")
    expect(page.get_by_role("heading", level=1)).to_be_visible()


def fill_form(box: Box, page: Page, **overrides: int) -> None:
    """From the start of the UI to the form of a run, filled in."""
    page.goto(f"http://127.0.0.1:{box.port}")
    page.get_by_role("link", name="Deployments").click()
    page.wait_for_url("**/deployments*")  # the start has links of that name, too
    page.get_by_role("link", name="retrain", exact=True).first.click()
    page.get_by_role("button", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Custom run").click()
    choose(page, "preset", "tiny")
    choose(page, "models", "gan")
    for key, value in overrides.items():
        field(page, f"overrides.train_gan.{key.replace('__', '.')}").locator("input").fill(str(value))


def field(page: Page, key: str) -> Locator:
    """What the form asks under a dotted key."""
    place = page.locator("form")
    for part in key.split("."):
        place = place.locator(f'div:has(> div > div > label:text-is("{part} (Optional)"))')
    return place


def choose(page: Page, key: str, option: str) -> None:
    field(page, key).get_by_role("button", name=f"Select {key}").click()
    page.get_by_role("option", name=option).click()


def submit(page: Page) -> str:
    """Submits the form and opens the page of the run; returns the run's id."""
    page.get_by_role("button", name="Submit").click()
    page.get_by_role("button", name="View run").click()
    page.wait_for_url("**/flow-run/*")
    return page.url.partition("/flow-run/")[2].partition("?")[0]


def wait_for_end(box: Box, page: Page, run: str) -> None:
    page.goto("about:blank")
    box.wait(run, "COMPLETED", seconds=600)


def open_run(box: Box, page: Page, run: str, tab: str) -> None:
    page.goto(f"http://127.0.0.1:{box.port}/v2/runs/flow-run/{run}")
    page.get_by_role("tab", name=tab).click()


def open_artifact(box: Box, page: Page, run: str, key: str) -> None:
    """Goes from the run's page to the newest artifact under that key, as clicks do."""
    open_run(box, page, run, "Artifacts")
    page.get_by_role("link").filter(has=page.get_by_text(key, exact=True)).click()
    page.wait_for_url("**/artifacts/key/*")
    page.locator("main a[href*='/artifacts/artifact/']").first.click()
    expect(page.get_by_role("tab", name="Raw")).to_be_visible()


def cancel(box: Box, page: Page, run: str) -> float:
    """Cancels a run as clicks do; returns when the last of them was made."""
    open_run(box, page, run, "Logs")
    page.get_by_role("button", name="Open menu").first.click()
    page.get_by_role("menuitem", name="Cancel").click()
    button = page.get_by_role("button", name="Cancel Flow Run")
    expect(button).to_be_visible()
    clicked = time.time()
    button.click()
    return clicked


def end_runs(box: Box) -> None:
    """Cancels what a test that failed left running."""
    going = {"flow_runs": {"state": {"type": {"any_": sorted(UNFINISHED)}}}}
    for run in box.api("/flow_runs/filter", going):
        box.api(f"/flow_runs/{run['id']}/set_state", {"state": {"type": "CANCELLING"}})
    until(lambda: not box.api("/flow_runs/filter", going))


def task(page: Page, name: str) -> Locator:
    """A task among those of the run."""
    return page.get_by_role("listitem").filter(has=page.get_by_role("link", name=name, exact=True)).first


def state(page: Page, name: str) -> None:
    """Waits until the page of the run says that it is in this state."""
    expect(page.locator("main").get_by_text(name, exact=True).first).to_be_visible(timeout=60 * MILLISECONDS)


def scroll_to(page: Page, line: Locator, over: Locator) -> None:
    """Turns the wheel until a line is there: a long list draws what is seen of it alone."""
    over.hover()
    until(lambda: line.is_visible() or page.mouse.wheel(0, 200), seconds=60)


def check_pictures(page: Page, number: int) -> None:
    """There are so many pictures on the page, and each shows something."""
    images = page.locator("main img:visible")
    expect(images).to_have_count(number)
    for image in images.all():
        assert image.evaluate("one => one.decode().then(() => one.naturalWidth)") > 0
        until(lambda image=image: paints(image))


def first_line(box: Box, run: str) -> float:
    """When the first line of a run's first task was written, in seconds since the epoch."""
    asked = {"logs": {"flow_run_id": {"any_": [run]}}, "sort": "TIMESTAMP_ASC", "limit": 200}
    lines = [line for line in box.api("/logs/filter", asked) if line["task_run_id"]]
    return datetime.fromisoformat(lines[0]["timestamp"]).timestamp()


def paints(picture: Locator) -> bool:
    """Whether a picture shows something; the page may be putting it anew, which is no answer."""
    with suppress(Error):
        return colours(picture) > PAINTED
    return False


def has_picture(box: Box, run: str, key: str) -> bool:
    """Whether a run's artifact has a picture by now."""
    asked = {"artifacts": {"flow_run_id": {"any_": [run]}, "key": {"any_": [key]}}}
    return any("data:image" in one["data"] for one in box.api("/artifacts/filter", asked))


def trainers(box: Box) -> list[psutil.Process]:
    """The processes that train the GAN in the box."""
    worker = psutil.Process(box.pids()["worker"])
    return [one for one in worker.children(recursive=True) if one.cmdline()[1:] == ["-m", "tasks.train.gan"]]
