"""The ASGI application for `uvicorn --factory`: Prefect's API and UI, and the runs' reports under /reports."""

import asyncio
import base64
import hmac
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import Response
from httpx import ASGITransport, AsyncClient
from prefect.server.api import server
from starlette.middleware.base import RequestResponseEndpoint
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Lifespan, Receive, Scope, Send

from flows.server.settings import REPORTS_FOLDER

NICENESS = 10
RETRY_SECONDS = (0.0, 0.1, 0.3, 1.0)  # before each repetition of a request
REPEATED = "x-imagewright-repeated"  # its header
REPEATING = asyncio.Lock()  # one at a time, since they would refuse each other
# Browsers load nothing from other hosts, not even the logos in Prefect's catalogue of blocks.
POLICY = "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:"


def create_app() -> FastAPI:
    """Prefect's application with the reports under /reports, behind the same password."""
    app = server.create_app()
    folder = Path(os.environ[REPORTS_FOLDER])
    folder.mkdir(parents=True, exist_ok=True)
    reports: ASGIApp = StaticFiles(directory=folder, html=True)
    if auth := os.environ.get("PREFECT_SERVER_API_AUTH_STRING"):
        reports = _BasicAuth(reports, auth)
    app.router.lifespan_context = _nice_after_start(app.router.lifespan_context)
    app.router.routes.insert(0, Mount("/reports", reports))  # before the UI, which answers every other path
    app.middleware("http")(_add_policy)
    if "PREFECT_API_DATABASE_CONNECTION_URL" not in os.environ:  # SQLite
        app.middleware("http")(_retry_when_locked)
    return app


def _nice_after_start(start: Lifespan[FastAPI]) -> Lifespan[FastAPI]:
    """Lowers the process's priority below trainings, but only after the start, for which a person waits."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[Mapping[str, Any]]:
        async with start(app) as state:
            os.nice(NICENESS)
            yield state or {}

    return lifespan


async def _add_policy(request: Request, respond: RequestResponseEndpoint) -> Response:
    response = await respond(request)
    response.headers["Content-Security-Policy"] = POLICY
    return response


async def _retry_when_locked(request: Request, respond: RequestResponseEndpoint) -> Response:
    """Repeats a request whose response is 503 while its client waits, as Prefect's clients do and its UI does not.

    SQLite refuses at once a transaction that writes after it has read, where another one has written meanwhile.
    """
    app, url, body = request.app, str(request.url), await request.body()  # a mounted application changes the scope
    response = await respond(request)
    if response.status_code != HTTPStatus.SERVICE_UNAVAILABLE or REPEATED in request.headers:
        return response
    headers = {**request.headers, REPEATED: "yes", "accept-encoding": "identity"}
    async with REPEATING, AsyncClient(transport=ASGITransport(app, raise_app_exceptions=False), timeout=None) as client:
        for seconds in RETRY_SECONDS:
            if response.status_code != HTTPStatus.SERVICE_UNAVAILABLE or await request.is_disconnected():
                break
            await asyncio.sleep(seconds)
            again = await client.request(request.method, url, headers=headers, content=body)
            response = Response(again.content, again.status_code, again.headers)
    return response


class _BasicAuth:
    """HTTP basic authentication with one `user:password`; the browser asks for it."""

    def __init__(self, inner: ASGIApp, auth: str) -> None:
        self._inner = inner
        self._expected = base64.b64encode(auth.encode())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scheme, _, credentials = Request(scope).headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "basic" and hmac.compare_digest(credentials.encode(), self._expected):
            await self._inner(scope, receive, send)
        else:
            await Response(status_code=401, headers={"WWW-Authenticate": 'Basic realm="reports"'})(scope, receive, send)
