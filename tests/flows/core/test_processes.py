"""A process group runs stages as processes: their output, how they end, and how all of them are stopped."""

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from flows.core.dag import read_dag
from flows.core.processes import Outcome, ProcessGroup, StageError, StageRun, StoppedError
from tests.flows.conftest import ROOT, Toy, lives, until


def run_only(toy: Toy, name: str = "prepared") -> tuple[StageRun, list[str]]:
    """Runs one stage; returns its outcome and its lines."""
    (stage,) = [stage for stage in read_dag(toy.path).stages if stage.name == name]
    lines: list[str] = []
    return ProcessGroup(toy.path).run_stage(stage, lines.append), lines


def test_a_stage_runs_once_and_is_then_cached(toy: Toy) -> None:
    toy.stage("prepared", cmd="echo one line && echo pixels > data/prepared")
    run, lines = run_only(toy)
    assert run.outcome is Outcome.RAN
    assert "one line" in lines
    assert not any("git add" in line or "lock file" in line or not line for line in lines), "DVC's hints are left out"
    run, lines = run_only(toy)
    assert run.outcome is Outcome.CACHED
    assert lines == ["Stage 'prepared' didn't change, skipping"]


def test_going_back_to_earlier_settings_is_cached_too(toy: Toy) -> None:
    """Settings that DVC has seen before come from its run cache, without running the command."""
    for command in ("echo 1 > data/prepared", "echo 2 > data/prepared"):
        toy.stage("prepared", cmd=command)
        assert run_only(toy)[0].outcome is Outcome.RAN
    toy.stage("prepared", cmd="echo 1 > data/prepared")
    assert run_only(toy)[0].outcome is Outcome.CACHED
    assert (toy / "data/prepared").read_text() == "1\n"


def test_a_stages_output_is_not_mistaken_for_dvcs(toy: Toy) -> None:
    toy.stage("prepared", cmd="""echo "Stage 'prepared' didn't change, skipping" && touch data/prepared""")
    assert run_only(toy)[0].outcome is Outcome.RAN


def failed(toy: Toy, cmd: str) -> StageError:
    """Returns the error of a stage that runs `cmd`."""
    toy.stage("prepared", cmd=cmd)
    with pytest.raises(StageError) as caught:
        run_only(toy)
    return caught.value


def test_a_persons_mistake_is_one_sentence(toy: Toy) -> None:
    error = failed(toy, "echo before; python mistake.py 'size is 27; choose 28'")
    assert (str(error), error.mistake) == ("size is 27; choose 28", True)


def test_a_mistake_is_recognised_whatever_is_printed_after_it(toy: Toy) -> None:
    error = failed(toy, "python mistake.py 'size is 27; choose 28'; code=$?; echo 'Segmentation fault'; exit $code")
    assert (str(error), error.mistake) == ("size is 27; choose 28", True)


@pytest.mark.parametrize(
    ("end", "words"),
    [
        ("kill -9 $$", "exited with -9"),
        ("kill -11 $$", "exited with -11"),
        ("exit 2", "exited with 2"),
        ("""python -c "raise ValueError('no such loss')" """, "exited with 1"),
    ],
)
def test_a_line_that_looks_like_a_mistake_is_none(toy: Toy, end: str, words: str) -> None:
    error = failed(toy, f"echo 'error: size is 27; choose 28'; {end}")
    assert not error.mistake
    assert "error: size is 27; choose 28" in str(error) and words in str(error)


def test_a_command_that_is_run_directly_reports_a_mistake_by_its_exit_code(tmp_path: Path) -> None:
    for command in (["sh", "-c", "echo 'error: no'; exit 2"], [sys.executable, "-m", "tasks.gate", str(tmp_path)]):
        with pytest.raises(StageError) as caught:
            ProcessGroup(ROOT).run(command, print, deadline=60)
        assert caught.value.mistake
        assert len(str(caught.value).splitlines()) == 1 and not str(caught.value).startswith("error: ")
    for end in ("exit 1", "exit 255", "kill -9 $$"):
        with pytest.raises(StageError) as caught:
            ProcessGroup(ROOT).run(["sh", "-c", f"echo 'error: no'; {end}"], print, deadline=60)
        assert not caught.value.mistake


def test_another_failure_shows_its_last_lines(toy: Toy) -> None:
    toy.stage("prepared", cmd="""python -c "print('far away\\n' * 50); raise ValueError('no such loss')" """)
    with pytest.raises(StageError, match="ValueError: no such loss") as caught:
        run_only(toy)
    assert not caught.value.mistake
    assert len(str(caught.value).splitlines()) <= 15


def test_a_failure_without_output_has_a_reason_as_well(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="exit code 7"):
        ProcessGroup(tmp_path).run(["sh", "-c", "exit 7"], print, deadline=10)


def test_a_stage_that_hangs_is_stopped_at_its_deadline(toy: Toy) -> None:
    toy.stage("prepared", cmd="echo $$ > pid; exec sleep 60", deadline=3)
    with pytest.raises(TimeoutError, match="deadline of 3 s"):
        run_only(toy)
    assert not lives(int((toy / "pid").read_text()))


def test_stop_all_stops_what_runs_and_starts_no_more(tmp_path: Path) -> None:
    processes, ends = ProcessGroup(tmp_path), []

    def work() -> None:
        try:
            processes.run(["sh", "-c", "echo $$ > pid; exec sleep 60"], print, deadline=60)
        except StoppedError as error:
            ends.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text(), seconds=10)
    processes.stop_all()
    thread.join(timeout=60)
    assert len(ends) == 1
    assert not lives(int((tmp_path / "pid").read_text()))
    with pytest.raises(StoppedError):
        processes.run(["true"], print, deadline=10)


def test_a_failing_log_does_not_leave_the_command_running(tmp_path: Path) -> None:
    def fail(line: str) -> None:
        raise BrokenPipeError(line)

    began = time.monotonic()
    with pytest.raises(BrokenPipeError):
        ProcessGroup(tmp_path).run(["sh", "-c", "echo $$; exec sleep 60"], fail, deadline=60)
    assert time.monotonic() - began < 10


def test_two_stages_of_one_workspace_run_at_the_same_time(toy: Toy) -> None:
    """DVC calls this a limitation; it works as long as neither writes what the other reads."""
    for name in ("left", "right"):
        toy.stage(name, seconds=2)
    threads = [threading.Thread(target=run_only, args=(toy, name)) for name in ("left", "right")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(start for start, _ in map(toy.span, toy.stages)) < min(end for _, end in map(toy.span, toy.stages))
    assert sorted(YAML(typ="safe").load(toy / "dvc.lock")["stages"]) == ["left", "right"]


def test_flows_do_not_import_torch() -> None:
    program = (
        "import importlib, pkgutil, sys, flows\n"
        "for module in pkgutil.iter_modules(flows.__path__): importlib.import_module(f'flows.{module.name}')\n"
        "print(sorted({name.split('.')[0] for name in sys.modules} & {'torch', 'torchvision', 'onnxruntime', 'flows'}))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "['flows']", done.stderr
