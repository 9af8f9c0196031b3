"""Turns on a resource."""

import threading
import time

from flows.core.resource_lock import ResourceLock
from tests.flows.conftest import until


def test_waiting_stages_go_in_order_of_rank() -> None:
    resources, order = ResourceLock(), []

    def work(rank: int) -> None:
        with resources.turn("device", rank):
            order.append(rank)

    with resources.turn("device", 0):
        threads = [threading.Thread(target=work, args=(rank,)) for rank in (3, 1, 2)]
        for thread in threads:
            thread.start()
        time.sleep(0.2)  # all three wait by now
        assert order == []
    until(lambda: len(order) == 3, seconds=5)
    assert order == [1, 2, 3]


def test_other_resources_and_none_are_not_in_the_way() -> None:
    resources = ResourceLock()
    with resources.turn("device", 0), resources.turn("network", 1), resources.turn(None, 2), resources.turn(None, 3):
        pass


def test_a_holder_that_fails_gives_back() -> None:
    resources = ResourceLock()
    try:
        with resources.turn("device", 0):
            raise ValueError
    except ValueError:
        pass
    with resources.turn("device", 1):
        pass
