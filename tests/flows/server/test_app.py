"""The server's middleware: a request that SQLite refused is repeated before anybody sees an error."""

import pytest
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from fastapi.testclient import TestClient

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


@pytest.mark.parametrize("status", [CREATED, CONFLICT])
def test_other_responses_are_passed_on(status: int) -> None:
    client, bodies = server(status, CREATED)
    assert client.post("/api/runs").status_code == status
    assert len(bodies) == 1
