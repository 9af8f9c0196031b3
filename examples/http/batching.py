"""Runs the network on all waiting requests together, in one thread beside the server's event loop."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from bundle import CHUNK, Bundle, Floats, Labels

WAITING = 2048  # images that may wait before new requests are refused: a few seconds of work

T = TypeVar("T")


class BusyError(Exception):
    """More images are waiting than the network generates in a few seconds."""


@dataclass(frozen=True)
class Job:
    """One request: noise, labels, the function applied to its images, and the future for the result."""

    noise: Floats
    labels: Labels | None
    finish: Callable[[Floats], Any]
    result: asyncio.Future[Any]


class Batcher:
    """A queue for the generator; the requests that arrive during one batch form the next, so none waits for others."""

    def __init__(self, bundle: Bundle) -> None:
        """Makes an idle queue; `running` serves it."""
        self._bundle = bundle
        self._jobs: deque[Job] = deque()
        self._came = asyncio.Event()
        self.waiting = 0  # images

    async def ask(self, noise: Floats, labels: Labels | None, finish: Callable[[Floats], T]) -> T:
        """Returns `finish(images)` for this noise; `finish` runs in the network's thread.

        Raises BusyError when too much waits already.
        """
        if self.waiting + len(noise) > WAITING:
            raise BusyError
        job = Job(noise, labels, finish, asyncio.get_running_loop().create_future())
        self._jobs.append(job)
        self.waiting += len(noise)
        self._came.set()
        try:
            return await job.result  # type: ignore[no-any-return]
        finally:
            self.waiting -= len(noise)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Serves the queue while the block runs."""
        with ThreadPoolExecutor(1, "network") as thread:
            serving = asyncio.create_task(self._serve(thread))
            try:
                yield
            finally:
                serving.cancel()
                with suppress(asyncio.CancelledError):
                    await serving

    async def _serve(self, thread: ThreadPoolExecutor) -> None:
        while True:
            await self._came.wait()
            self._came.clear()
            while jobs := self._take():
                results = await asyncio.get_running_loop().run_in_executor(thread, self._draw, jobs)
                for job, result in zip(jobs, results, strict=True):
                    if job.result.done():  # the client disconnected
                        continue
                    if isinstance(result, Exception):
                        job.result.set_exception(result)
                    else:
                        job.result.set_result(result)

    def _take(self) -> list[Job]:
        """Returns the oldest jobs that fit into a chunk together; a larger one is alone."""
        jobs: list[Job] = []
        count = 0
        while self._jobs and (not jobs or count + len(self._jobs[0].noise) <= CHUNK):
            jobs.append(self._jobs.popleft())
            count += len(jobs[-1].noise)
        return jobs

    def _draw(self, jobs: list[Job]) -> list[Any]:
        """Returns the result of each job, or its exception."""
        try:
            noise = np.concatenate([job.noise for job in jobs])
            labels = [job.labels for job in jobs if job.labels is not None]  # either all jobs have labels or none
            images = self._bundle.generate(noise, np.concatenate(labels) if labels else None)
            ends = np.cumsum([len(job.noise) for job in jobs])
            return [job.finish(part) for job, part in zip(jobs, np.split(images, ends[:-1]), strict=True)]
        except Exception as error:  # every waiting job gets the exception, and the queue continues
            return [error] * len(jobs)
