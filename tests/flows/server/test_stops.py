"""A training that is cancelled, and one whose server is away for long."""

import os
import time

import pytest

from tests.flows.conftest import until
from tests.flows.server.mill import Mill

pytestmark = pytest.mark.long

SECONDS_TO_END = 15.0
SECONDS_AWAY = float(os.environ.get("AWAY") or 20)


def trains(mill: Mill) -> bool:
    """Whether a training has left a checkpoint already."""
    return any((mill / ".work/checkpoints/train_gan").glob("*/checkpoint.safetensors"))


def test_a_cancelled_training_is_gone_and_goes_on_from_its_checkpoint_next_time(mill: Mill) -> None:
    mill.empty()
    run = mill.start("retrain", models="gan")
    until(lambda: trains(mill))
    asked = time.monotonic()
    mill.api(f"/flow_runs/{run}/set_state", {"state": {"type": "CANCELLING"}})
    until(lambda: not mill.of_runs(), SECONDS_TO_END)
    print(f"cancelled: nobody left after {time.monotonic() - asked:.1f} s")
    assert mill.ended(run)["type"] == "CANCELLED"
    assert trains(mill) and mill.tags() == []
    second = mill.start("retrain", models="gan")
    assert mill.ended(second)["name"] == "Released"
    logs = mill.api("/logs/filter", {"logs": {"flow_run_id": {"any_": [second]}}, "limit": 200})
    assert [line["message"] for line in logs if "going on from image" in line["message"]]


@pytest.mark.parametrize("seconds", [SECONDS_AWAY])
def test_a_training_goes_on_while_the_server_is_away(mill: Mill, seconds: float) -> None:
    mill.empty()
    images = int(12_800 * (1 + seconds / 4))
    asked = {"models": "gan", "overrides": {"train_gan": {"stop": {"n_images": images}}}}
    run = mill.start("retrain", **asked)
    until(lambda: trains(mill))
    server, keeper = mill.supervised("server"), mill.keeper()
    keeper.suspend()  # or it would start another at once
    try:
        server.kill()
        time.sleep(seconds)
        assert mill.part("trainer"), "it trains on"
    finally:
        keeper.resume()
    assert mill.ended(run)["name"] == "Released"
    assert mill.tags() == ["gan#live#1", "gan@v1.0.0"]
    again = mill.start("retrain", **asked)
    mill.wait(again, "RUNNING", seconds=60)  # its worker has found back as well
    assert mill.ended(again)["name"] == "Nothing new"
