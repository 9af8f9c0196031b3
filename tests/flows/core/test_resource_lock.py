"""The lock by which stages use a resource one at a time."""

import threading
import time

from flows.core.orchestration import ResourceLock
from tests.flows.conftest import until


def test_waiting_stages_go_in_order_of_rank() -> None:
    resources, order = ResourceLock(), []

    def work(rank: int) -> None:
        with resources.hold("device", rank):
            order.append(rank)

    with resources.hold("device", 0):
        threads = [threading.Thread(target=work, args=(rank,)) for rank in (3, 1, 2)]
        for thread in threads:
            thread.start()
        time.sleep(0.2)  # all three wait by now
        assert order == []
    until(lambda: len(order) == 3, seconds=5)
    assert order == [1, 2, 3]


def test_other_resources_and_none_are_free() -> None:
    resources = ResourceLock()
    with resources.hold("device", 0), resources.hold("network", 1), resources.hold(None, 2), resources.hold(None, 3):
        pass


def test_a_holder_that_fails_releases_the_resource() -> None:
    resources = ResourceLock()
    try:
        with resources.hold("device", 0):
            raise ValueError
    except ValueError:
        pass
    with resources.hold("device", 1):
        pass
