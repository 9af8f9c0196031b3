"""The ASGI application for `uvicorn --factory`: Prefect's API and UI, and the runs' reports under /reports."""

import base64
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
    app.add_middleware(_ContentSecurityPolicy)
    return app


def _nice_after_start(start: Lifespan[FastAPI]) -> Lifespan[FastAPI]:
    """Lowers the process's priority below trainings, but only after the start, for which a person waits."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[Mapping[str, Any]]:
        async with start(app) as state:
            os.nice(NICENESS)
            yield state or {}

    return lifespan


class _ContentSecurityPolicy:
    """Middleware that adds the Content-Security-Policy header to every HTTP response."""

    def __init__(self, app: ASGIApp) -> None:
        self._inner = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_policy(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["Content-Security-Policy"] = POLICY
            await send(message)

        await self._inner(scope, receive, send_with_policy if scope["type"] == "http" else send)


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
