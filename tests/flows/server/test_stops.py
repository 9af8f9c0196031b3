"""A training is cancelled, and a training continues while the API server is away."""

import os
import time

import pytest

from tests.flows.conftest import until
from tests.flows.server.training_server import TrainingServer

pytestmark = pytest.mark.long

SECONDS_TO_END = 15.0
SECONDS_AWAY = float(os.environ.get("AWAY") or 20)


def trains(training_server: TrainingServer) -> bool:
    """Whether a training has written a checkpoint."""
    return any((training_server / ".work/checkpoints/train_gan").glob("*/checkpoint.safetensors"))


def test_a_cancelled_training_ends_and_resumes_from_its_checkpoint(
    training_server: TrainingServer,
) -> None:
    training_server.reset()
    run = training_server.start("retrain", models="gan")
    until(lambda: trains(training_server))
    asked = time.monotonic()
    training_server.api(f"/flow_runs/{run}/set_state", {"state": {"type": "CANCELLING"}})
    until(lambda: not training_server.run_processes(), SECONDS_TO_END)
    print(f"cancelled: no process left after {time.monotonic() - asked:.1f} s")
    assert training_server.wait_for_end(run)["type"] == "CANCELLED"
    assert trains(training_server) and training_server.tags() == []
    second = training_server.start("retrain", models="gan")
    assert training_server.wait_for_end(second)["name"] == "Released"
    logs = training_server.api("/logs/filter", {"logs": {"flow_run_id": {"any_": [second]}}, "limit": 200})
    assert [line["message"] for line in logs if "resuming from image" in line["message"]]


@pytest.mark.parametrize("seconds", [SECONDS_AWAY])
def test_a_training_continues_while_the_server_is_away(training_server: TrainingServer, seconds: float) -> None:
    training_server.reset()
    images = int(12_800 * (1 + seconds / 4))
    asked = {"models": "gan", "overrides": {"train_gan": {"stop": {"n_images": images}}}}
    run = training_server.start("retrain", **asked)
    until(lambda: trains(training_server))
    api_server, supervisor = training_server.supervised("server"), training_server.supervisor()
    supervisor.suspend()  # else it would restart the API server at once
    try:
        api_server.kill()
        time.sleep(seconds)
        assert training_server.part("trainer"), "it continues to train"
    finally:
        supervisor.resume()
    assert training_server.wait_for_end(run)["name"] == "Released"
    assert training_server.tags() == ["gan#live#1", "gan@v1.0.0"]
    again = training_server.start("retrain", **asked)
    training_server.wait(again, "RUNNING", seconds=60)  # the worker takes new runs again
    assert training_server.wait_for_end(again)["name"] == "Nothing new"
