"""The report in a real browser, opened from disk without a network."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tasks.report.page import write_report
from tasks.workplace import work_folder
from tests.tasks.report import standing

OFFLINE = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--host-resolver-rules=MAP * ~NOTFOUND"]


def test_a_browser_shows_the_report_from_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    browser = shutil.which("chromium")
    if browser is None:
        pytest.skip("needs Debian's package chromium")
    monkeypatch.chdir(tmp_path)
    work_folder.cache_clear()
    standing.fill_everything()
    write_report()
    shot = tmp_path / "shot.png"
    page = (tmp_path / "report/index.html").as_uri()
    options = [*OFFLINE, f"--user-data-dir={tmp_path / 'profile'}", f"--screenshot={shot}", "--window-size=1200,900"]
    subprocess.run([browser, *options, page], check=True, capture_output=True, timeout=120)
    work_folder.cache_clear()
    pixels = np.asarray(Image.open(shot).convert("L"))
    top = pixels[:700]
    assert len(np.unique(pixels)) > 100  # pictures are there, not only text on a plain ground
    assert (top != np.median(top)).mean() > 0.15
