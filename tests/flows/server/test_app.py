"""The server's middleware: a request that SQLite refused is repeated before anybody sees an error."""

import asyncio

import pytest
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from fastapi.testclient import TestClient
from starlette.types import Message

from flows.server import app

LOCKED, CREATED, CONFLICT = 503, 201, 409


def server(*statuses: int) -> tuple[TestClient, list[bytes]]:
    """A client of a server whose responses have these statuses, and the bodies of the requests that it gets."""
    whole, api, bodies, left = FastAPI(), FastAPI(), [], [*statuses]

    @api.post("/runs")
    async def create(request: Request) -> JSONResponse:
        bodies.append(await request.body())
        return JSONResponse({"number": len(bodies)}, left.pop(0))

    whole.mount("/api", api)  # as Prefect's API is
    whole.middleware("http")(app._retry_when_locked)
    return TestClient(whole), bodies


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "RETRY_SECONDS", (0.0, 0.0, 0.0, 0.0))


def test_a_refused_request_is_repeated_with_its_body() -> None:
    client, bodies = server(LOCKED, LOCKED, CREATED)
    response = client.post("/api/runs?name=one", content=b"parameters")
    assert (response.status_code, response.json()) == (CREATED, {"number": 3})
    assert bodies == [b"parameters"] * 3


def test_a_server_that_stays_locked_says_so() -> None:
    client, bodies = server(*[LOCKED] * 10)
    assert client.post("/api/runs").status_code == LOCKED
    assert len(bodies) == 5


def test_a_request_whose_client_has_gone_is_not_repeated() -> None:
    client, bodies = server(LOCKED, CREATED)
    messages: list[Message] = [{"type": "http.request", "body": b""}, {"type": "http.disconnect"}]
    sent: list[Message] = []

    async def receive() -> Message:
        return messages.pop(0) if len(messages) > 1 else messages[0]

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/api/runs", "query_string": b"", "headers": []}
    asyncio.run(client.app(scope, receive, send))
    assert sent[0]["status"] == LOCKED
    assert len(bodies) == 1


@pytest.mark.parametrize("status", [CREATED, CONFLICT])
def test_other_responses_are_passed_on(status: int) -> None:
    client, bodies = server(status, CREATED)
    assert client.post("/api/runs").status_code == status
    assert len(bodies) == 1
