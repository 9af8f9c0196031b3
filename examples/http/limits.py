"""Limits on the rate of each client and on the size of a request."""

import math
import time
from collections import OrderedDict

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

CLIENTS = 10_000  # clients in memory; the one that was idle longest is dropped first


class RateLimit:
    """A token bucket for each client, in images: `burst` at once, `rate` a second after that."""

    def __init__(self, rate: float, burst: int) -> None:
        """Every client starts with a full bucket."""
        self.rate, self.burst = rate, burst
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # images left, and when this was computed

    def spend(self, client: str, images: int, now: float | None = None) -> int:
        """Takes images from the client's bucket; returns 0, or the seconds to wait if it has too few."""
        now = time.monotonic() if now is None else now
        left, then = self._buckets.pop(client, (float(self.burst), now))
        left = min(self.burst, left + (now - then) * self.rate)
        granted = images <= left
        self._buckets[client] = (left - images if granted else left, now)
        if len(self._buckets) > CLIENTS:
            self._buckets.popitem(last=False)
        return 0 if granted else max(1, math.ceil((images - left) / self.rate))


class BodyLimit:
    """Answers 413 if a request's body is longer than `largest` bytes, whatever length it declares."""

    def __init__(self, app: ASGIApp, largest: int) -> None:
        """Wraps `app`."""
        self.app, self.largest = app, largest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Reads the whole body of an HTTP request, and passes it to the app if it is short enough."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        body, more = bytearray(), True
        while more and len(body) <= self.largest:
            message = await receive()
            if message["type"] != "http.request":
                return None  # the client disconnected
            body += message.get("body", b"")
            more = message.get("more_body", False)
        if len(body) > self.largest:
            problem = {"detail": f"the request is longer than {self.largest:,} bytes; ask for fewer images at once"}
            return await JSONResponse(problem, 413, {"Connection": "close"})(scope, receive, send)
        parts = iter([{"type": "http.request", "body": bytes(body), "more_body": False}])

        async def again() -> Message:
            return next(parts, None) or await receive()

        await self.app(scope, again, send)
