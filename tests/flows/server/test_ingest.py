"""`imagewright ingest` without a running server: it waits for quiet, and prints that nothing is notified."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from tests.conftest import Checkout
from tests.flows.conftest import until
from tests.flows.server.test_server import write_image


@pytest.fixture
def incoming(tmp_path: Path) -> Path:
    folder = tmp_path / "incoming"
    folder.mkdir()
    write_image(folder / "0.png", 0)
    return folder


def test_new_data_is_reported_once(checkout: Checkout, incoming: Path) -> None:
    first = checkout.python("-m", "flows.ingest", str(incoming))
    assert first.returncode == 0, first.stderr
    assert first.stdout.splitlines()[-1].startswith("the data is new, but no server is running")
    again = checkout.python("-m", "flows.ingest", str(incoming))
    assert again.returncode == 0 and "the data is new" not in again.stdout


def test_a_missing_source_is_exit_code_2(checkout: Checkout, tmp_path: Path) -> None:
    done = checkout.python("-m", "flows.ingest", str(tmp_path / "nowhere"))
    assert done.returncode == 2 and done.stderr.startswith("error: ") and len(done.stderr.splitlines()) == 1


def test_a_file_that_is_being_copied_is_ingested_whole(checkout: Checkout, incoming: Path) -> None:
    command = [sys.executable, "-m", "flows.ingest", str(incoming), "--quiet", "2"]
    process = subprocess.Popen(
        command, cwd=checkout.path, env=checkout.environment(), stdout=subprocess.PIPE, text=True
    )
    whole = (incoming / "0.png").read_bytes()
    with (incoming / "1.png").open("wb") as file:
        for byte in range(0, len(whole), len(whole) // 8):
            file.write(whole[byte : byte + len(whole) // 8])
            file.flush()
            time.sleep(0.5)
            assert not (checkout / "data/raw.dvc").exists()
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0 and "again" not in output
    assert (checkout / "data/raw/1.png").read_bytes() == whole


CHANGE = """
import pathlib, sys
from tasks.ingest import fill
inner = fill.build_manifest
def copy_then_list(*arguments):
    late = pathlib.Path({late!r})
    if not late.exists():
        late.write_bytes(pathlib.Path({early!r}).read_bytes()[::-1])
    return inner(*arguments)
fill.build_manifest = copy_then_list
"""


def test_files_that_come_meanwhile_are_ingested_as_well(checkout: Checkout, incoming: Path) -> None:
    """A file comes after the copy; without a second ingestion it would be missing."""
    init = checkout / "tasks/ingest/__main__.py"
    init.write_text(CHANGE.format(late=str(incoming / "late.bin"), early=str(incoming / "0.png")) + init.read_text())
    done = checkout.python("-m", "flows.ingest", str(incoming), "--quiet", "1")
    assert done.returncode == 0, done.stderr
    assert f"{incoming} changed while it was being ingested; ingesting it again" in done.stdout
    assert (checkout / "data/raw/late.bin").exists()
    assert done.stdout.count("the data is new") == 1
    until(lambda: YAML(typ="safe").load(checkout / "data/raw.dvc")["outs"][0]["nfiles"] == 3, seconds=1)
