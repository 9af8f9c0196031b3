"""The flow has the same results as `dvc repro`, and runs stages in the order and with the limits of dvc.yaml."""

import json
from collections.abc import Sequence

import pytest
from PIL import Image
from prefect import flow
from prefect.artifacts import Artifact
from prefect.futures import wait

from flows.core.dag import read_dag, status
from flows.core.orchestration import PipelineError, collect, pipeline, submit_stages
from flows.core.processes import Outcome, ProcessGroup, StageRun
from tests.flows.conftest import Toy

pytestmark = [
    pytest.mark.usefixtures("server"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


def outcomes(runs: Sequence[StageRun]) -> dict[str, str]:
    return {run.name: run.outcome.value for run in runs}


def reasons(toy: Toy) -> dict[str, str]:
    """Runs the flow, which must fail, and returns the reason of each failed stage."""
    with pytest.raises(PipelineError) as caught:
        pipeline(toy.path, None)
    return {run.name: run.reason for run in caught.value.runs if run.outcome is Outcome.FAILED}


def test_runs_each_stage_once_in_order_and_in_parallel_where_possible(
    toy: Toy, capsys: pytest.CaptureFixture[str]
) -> None:
    for model in ("gan", "vae"):
        toy.stage(f"train_{model}", seconds=2, resource="device")
        toy.stage(f"export_{model}", reads=f"data/train_{model}", seconds=3)
    names = [*toy.stages]

    assert outcomes(pipeline(toy.path, None)) == dict.fromkeys(names, "Ran")
    assert sorted(toy.ran()) == sorted(names)
    first, second = sorted(toy.span(f"train_{model}") for model in ("gan", "vae"))
    assert first[1] <= second[0], "trainings run one at a time on their device"
    exported = min(toy.span(f"export_{model}") for model in ("gan", "vae"))
    assert first[1] <= exported[0]
    assert exported[0] < second[1], "an export runs beside the other training"
    assert "train_gan | > python work.py train_gan" in capsys.readouterr().out
    assert status(toy.path) == {}
    toy.dvc("repro")
    assert len(toy.ran()) == len(names), "nothing was left to do for `dvc repro`"


def test_after_dvc_repro_the_flow_finds_everything_cached(toy: Toy) -> None:
    toy.stage("prepared")
    toy.stage("trained", reads="data/prepared")
    toy.dvc("repro")
    lock = (toy / "dvc.lock").read_bytes()

    @flow
    def show() -> tuple[dict[str, str], dict[str, str]]:
        futures = submit_stages(read_dag(toy.path), ProcessGroup(toy.path))
        wait([*futures.values()])
        return outcomes(collect(futures)), {name: future.state.name for name, future in futures.items()}

    assert show() == ({"prepared": "Cached", "trained": "Cached"},) * 2
    assert toy.ran() == ["prepared", "trained"]
    assert (toy / "dvc.lock").read_bytes() == lock


def test_a_failing_stage_skips_its_children_and_lets_the_others_finish(toy: Toy) -> None:
    toy.stage("prepared")
    toy.stage("train_gan", reads="data/prepared", cmd="python mistake.py 'no images; add some'", retries=1)
    toy.stage("export_gan", reads="data/train_gan")
    toy.stage("train_vae", reads="data/prepared", seconds=1)
    toy.stage("export_vae", reads="data/train_vae")
    with pytest.raises(PipelineError, match="train_gan failed") as caught:
        pipeline(toy.path, ["touch", "report"])
    runs = {run.name: run for run in caught.value.runs}
    assert outcomes([*runs.values()]) == {
        "prepared": "Ran",
        "train_gan": "Failed",
        "export_gan": "Skipped",
        "train_vae": "Ran",
        "export_vae": "Ran",
        "report": "Skipped",
    }
    assert runs["train_gan"].reason == "no images; add some"
    assert toy.ran() == ["prepared", "train_vae", "export_vae"]
    assert not (toy / "report").exists()


def test_a_stage_is_tried_again_as_its_meta_says_but_not_after_a_mistake(toy: Toy) -> None:
    once = "echo {0} >> journal.txt; test $(grep -c {0} journal.txt) = 2 || exit 1; touch data/{0}"
    toy.stage("shaky", cmd=once.format("shaky"), retries=1)
    toy.stage("wrong", cmd="echo wrong >> journal.txt; python mistake.py no", retries=1)
    assert reasons(toy) == {"wrong": "no"}
    assert sorted((toy / "journal.txt").read_text().split()) == ["shaky", "shaky", "wrong"]


def test_a_deadline_fails_the_stage(toy: Toy) -> None:
    toy.stage("slow", cmd="sleep 60", deadline=2)
    assert "deadline of 2 s" in reasons(toy)["slow"]


def test_the_report_and_the_artifacts_follow_the_stages(toy: Toy) -> None:
    toy.stage("prepared")
    for model, distance in (("gan", 12.5), ("vae", 20.0)):
        (toy / "data/samples" / model).mkdir(parents=True)
        Image.new("L", (40, 40), 200).save(toy / f"data/samples/{model}/grid.png")
        (toy / "data/metrics").mkdir(exist_ok=True)
        (toy / f"data/metrics/{model}.json").write_text(json.dumps({"distance": distance}))
    report = ["sh", "-c", "test -f data/prepared && mkdir report && touch report/index.html"]
    assert outcomes(pipeline(toy.path, report)) == {"prepared": "Ran", "report": "Ran"}

    stored = {key: Artifact.get(key) for key in ("samples", "metrics", "report")}
    data = {key: str(artifact.data) for key, artifact in stored.items() if artifact}
    assert data["samples"].count("](data:image/png;base64,") == 2
    assert json.loads(data["metrics"]) == [{"metric": "distance", "gan": 12.5, "vae": 20.0}]
    assert (toy / "report/index.html").as_uri() in data["report"]
