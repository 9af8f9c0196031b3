"""Serves images of a bundle over HTTP: `python service.py data/bundle/gan`."""

import argparse
import base64
import io
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import uvicorn
from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "python"))  # for bundle.py and pictures.py
from batching import Batcher, BusyError
from bundle import Bundle, BundleError, Floats, Labels
from limits import BodyLimit, RateLimit
from pictures import to_grid
from schemas import LARGEST, Columns, Count, Health, ImageRequest, Label, Model, Pictures, Problem, Seed

T = TypeVar("T")
NO_OBJECT = 'the body must be JSON, such as {"seed": 7, "count": 2}, sent with Content-Type: application/json'
BODY = 4 * 2**20  # bytes: enough for LARGEST noise vectors of length 512
PROBLEMS: dict[int | str, dict[str, Any]] = {
    413: {"model": Problem, "description": "The request is too long."},
    422: {"model": Problem, "description": "The request is not valid for this model."},
    429: {"model": Problem, "description": "Too many images for now; Retry-After says how many seconds to wait."},
    503: {"model": Problem, "description": "Too many images are waiting; Retry-After says when to try again."},
}
PNG: dict[int | str, dict[str, Any]] = {200: {"content": {"image/png": {}}, "description": "A PNG file."}}


def to_png(images: Floats, columns: int = 1) -> bytes:
    """Returns a grid of images float32 [N, C, H, W] in [0, 1] as a PNG file."""
    file = io.BytesIO()
    to_grid(images, columns).save(file, "PNG", compress_level=1)
    return file.getvalue()


def to_base64(images: Floats) -> list[str]:
    """Returns each image as a base64-encoded PNG file."""
    return [base64.b64encode(to_png(images[place : place + 1])).decode() for place in range(len(images))]


class ImageService:
    """Generates the images of requests, within the limits."""

    def __init__(self, bundle: Bundle, rate: float) -> None:
        """`rate` is the images per second of each client."""
        self.bundle, self.batcher, self.limit = bundle, Batcher(bundle), RateLimit(rate, max(LARGEST, int(rate)))

    async def seeded(
        self, request: Request, seed: int, count: int, label: str | None, finish: Callable[[Floats], T]
    ) -> T:
        """Returns `finish(images)` for the images of `count` seeds; raises as `generate` does."""
        picked = None if label is None else np.full(count, self.bundle.label(label), np.int64)
        noise, labels = self.bundle.sample_noise(range(seed, seed + count))
        return await self.generate(request, noise, labels if picked is None else picked, finish)

    async def generate(
        self, request: Request, noise: Floats, labels: Labels | None, finish: Callable[[Floats], T]
    ) -> T:
        """Returns `finish(images)`; raises BundleError for invalid input, HTTPException beyond the limits."""
        self.bundle.check(noise, labels)
        client = request.client.host if request.client else ""
        if wait := self.limit.spend(client, len(noise)):
            asked = f"{self.limit.rate:g} images a second, {self.limit.burst} at once"
            raise HTTPException(429, f"more than {asked}; try again in {wait} s", {"Retry-After": str(wait)})
        try:
            return await self.batcher.ask(noise, labels, finish)
        except BusyError:
            raise HTTPException(503, "too many images wait; try again in a second", {"Retry-After": "1"}) from None

    async def from_body(self, request: Request, asked: ImageRequest) -> list[str]:
        """Returns the base64-encoded images of a request with a body; raises as `generate` does."""
        if asked.noise is None:
            noise, labels = self.bundle.sample_noise(range(asked.seed, asked.seed + asked.count))
        else:
            noise, labels = self._own_noise(asked), None
        if asked.labels is not None:
            labels = np.array([self.bundle.label(one) for one in asked.labels], np.int64)
        return await self.generate(request, noise, labels, to_base64)

    def _own_noise(self, asked: ImageRequest) -> Floats:
        assert asked.noise is not None
        if asked.model_fields_set & {"seed", "count"}:
            raise BundleError("give either noise, or seed and count")
        lengths = {len(row) for row in asked.noise}
        if lengths != {self.bundle.length}:
            found = " and ".join(map(str, sorted(lengths)))
            raise BundleError(f"every row of noise must hold {self.bundle.length} numbers, and there are {found}")
        with np.errstate(over="ignore"):  # numbers that become infinite are refused later
            return np.array(asked.noise, np.float64).astype(np.float32)


def create_app(bundle: Bundle, rate: float) -> FastAPI:
    """Returns the app for one bundle; each client may request `rate` images per second."""
    service = ImageService(bundle, rate)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        bundle.generate(*bundle.sample_noise([0]))  # warms up, since the first run is slow
        async with service.batcher.running():
            yield

    app = FastAPI(
        title="Imagewright images",
        version="1",
        description=f"Generates images with a {bundle.model.upper()}; an image depends only on its seed and label.",
        lifespan=lifespan,
        docs_url=None,  # those pages load scripts from other hosts; /openapi.json is there
        redoc_url=None,
    )
    app.add_middleware(BodyLimit, largest=BODY)
    app.add_exception_handler(BundleError, _say)
    app.add_exception_handler(RequestValidationError, _say_what_is_invalid)
    _add_routes(app, service)
    return app


def _add_routes(app: FastAPI, service: ImageService) -> None:
    @app.get("/image", response_class=Response, responses=PNG | PROBLEMS, summary="One image as PNG")
    async def image(request: Request, seed: Seed = 0, label: Label = None) -> Response:
        return Response(await service.seeded(request, seed, 1, label, to_png), media_type="image/png")

    @app.get("/grid", response_class=Response, responses=PNG | PROBLEMS, summary="Many images as one PNG")
    async def grid(
        request: Request, seed: Seed = 0, count: Count = 16, label: Label = None, columns: Columns = 8
    ) -> Response:
        sheet = await service.seeded(request, seed, count, label, lambda images: to_png(images, columns))
        return Response(sheet, media_type="image/png")

    @app.post("/images", responses=PROBLEMS, summary="Many images, each a PNG in base64")
    async def images(request: Request, asked: ImageRequest) -> Pictures:
        return Pictures(images=await service.from_body(request, asked))

    @app.get("/model", summary="The model")
    async def model() -> Model:
        bundle = service.bundle
        return Model(
            model=bundle.model,
            noise_length=bundle.length,
            image_shape=bundle.shape,
            labels=bundle.names if bundle.labelled else None,
            hashes=bundle.contract["hashes"],
        )

    @app.get("/health", summary="Whether the service works")
    async def health() -> Health:
        return Health(status="ok", waiting=service.batcher.waiting)


async def _say(_: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"detail": str(error)}, 422)


async def _say_what_is_invalid(_: Request, error: Exception) -> JSONResponse:
    """Turns the first of FastAPI's validation errors into a sentence."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    where, what = ".".join(str(part) for part in first["loc"][1:]), first["msg"]
    if not where:
        return JSONResponse({"detail": NO_OBJECT}, 422)
    sentence = what.replace("Input", where, 1) if what.startswith("Input ") else f"{where}: {what}"
    return JSONResponse({"detail": sentence}, 422)


def main() -> int:
    """Serves until interrupted; returns 1 with an error message for an invalid bundle."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path, help="folder with contract.json")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--rate", type=float, default=100, help="images per second that each client may request")
    parser.add_argument("--threads", type=int, default=0, help="threads of the network; 0: all cores but one")
    asked = parser.parse_args()
    if asked.rate <= 0:
        parser.error("--rate must be above 0")
    try:
        bundle = Bundle(asked.bundle, asked.threads or max(1, (os.cpu_count() or 1) - 1))
    except BundleError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    uvicorn.run(create_app(bundle, asked.rate), host=asked.host, port=asked.port, log_level="warning")
    return 0


if __name__ == "__main__":
    sys.exit(main())
