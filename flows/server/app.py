"""The server's application: Prefect's API and UI, with the runs' reports beside them. For `uvicorn --factory`."""

import base64
import binascii
import hmac
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import Response
from prefect.server.api import server
from starlette.datastructures import MutableHeaders
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Lifespan, Message, Receive, Scope, Send

from flows.server.settings import REPORTS_FOLDER

NICENESS = 10
# A browser asks nobody else, not even for the logos in Prefect's catalogue of blocks.
POLICY = "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:"


def create_app() -> FastAPI:
    """Prefect's application with the folder that the keeper names served under /reports, behind the same password."""
    app = server.create_app()
    folder = Path(os.environ[REPORTS_FOLDER])
    folder.mkdir(parents=True, exist_ok=True)  # a person may have removed it
    reports: ASGIApp = StaticFiles(directory=folder, html=True)
    if auth := os.environ.get("PREFECT_SERVER_API_AUTH_STRING"):
        reports = _Guarded(reports, auth)
    app.router.lifespan_context = _polite(app.router.lifespan_context)
    # The UI answers whatever nobody before it took.
    app.router.routes.insert(0, Mount("/reports", reports))
    app.add_middleware(_Closed)
    return app


def _polite(start: Lifespan[FastAPI]) -> Lifespan[FastAPI]:
    """Lets trainings go first once the start is over, for which a person waits."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[Mapping[str, Any]]:
        async with start(app) as state:
            os.nice(NICENESS)
            yield state or {}

    return lifespan


class _Closed:
    """Tells browsers to stay with this server."""

    def __init__(self, app: ASGIApp) -> None:
        self._inner = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def closed(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["Content-Security-Policy"] = POLICY
            await send(message)

        await self._inner(scope, receive, closed if scope["type"] == "http" else send)


class _Guarded:
    """Lets in who knows the password; a browser asks for it."""

    def __init__(self, inner: ASGIApp, auth: str) -> None:
        self._inner = inner
        self._auth = auth.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        kind, _, given = Request(scope).headers.get("Authorization", "").partition(" ")
        if kind.lower() == "basic" and hmac.compare_digest(_decoded(given), self._auth):
            await self._inner(scope, receive, send)
        else:
            await Response(status_code=401, headers={"WWW-Authenticate": 'Basic realm="reports"'})(scope, receive, send)


def _decoded(given: str) -> bytes:
    try:
        return base64.b64decode(given, validate=True)
    except (binascii.Error, ValueError):
        return b""
