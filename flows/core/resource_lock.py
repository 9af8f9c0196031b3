"""Stages that need the same resource take turns."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class ResourceLock:
    """One holder per resource at a time; among those who wait, the lowest rank goes first."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._held: set[str] = set()
        self._waiting: dict[str, set[int]] = {}

    @contextmanager
    def turn(self, resource: str | None, rank: int) -> Iterator[None]:
        """Waits for the resource, holds it during the block and gives it back; None is free at all times."""
        if resource is None:
            yield
            return
        self._take(resource, rank)
        try:
            yield
        finally:
            with self._changed:
                self._held.discard(resource)
                self._changed.notify_all()

    def _take(self, resource: str, rank: int) -> None:
        with self._changed:
            waiting = self._waiting.setdefault(resource, set())
            waiting.add(rank)
            self._changed.wait_for(lambda: resource not in self._held and rank == min(waiting))
            waiting.discard(rank)
            self._held.add(resource)
