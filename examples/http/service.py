"""Serves the images of a bundle over HTTP: `python service.py data/bundle/gan`."""

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

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "python"))  # the neighbour that knows bundles
from batching import Batcher, BusyError
from bundle import Bundle, BundleError, Floats, Labels
from limits import BodyLimit, RateLimit
from pictures import to_grid
from schemas import LARGEST, Columns, Count, Health, Label, Model, Pictures, Problem, Seed, Wish

T = TypeVar("T")
NO_OBJECT = 'the body must be JSON, such as {"seed": 7, "count": 2}, sent with Content-Type: application/json'
BODY = 4 * 2**20  # bytes: noise of 512 numbers for the most images at once
PROBLEMS: dict[int | str, dict[str, Any]] = {
    413: {"model": Problem, "description": "The request is too long."},
    422: {"model": Problem, "description": "The request asks for what this model cannot draw."},
    429: {"model": Problem, "description": "Too many images for now; Retry-After says how many seconds to wait."},
    503: {"model": Problem, "description": "Too many images wait to be drawn; Retry-After says when to try again."},
}
PNG: dict[int | str, dict[str, Any]] = {200: {"content": {"image/png": {}}, "description": "A PNG file."}}


def to_png(images: Floats, columns: int = 1) -> bytes:
    """A sheet of images float32 [N, C, H, W] in [0, 1] as a PNG file."""
    file = io.BytesIO()
    to_grid(images, columns).save(file, "PNG", compress_level=1)
    return file.getvalue()


def to_base64(images: Floats) -> list[str]:
    """Each image as a PNG file in base64."""
    return [base64.b64encode(to_png(images[place : place + 1])).decode() for place in range(len(images))]


class Studio:
    """Draws what requests ask for, within the limits."""

    def __init__(self, bundle: Bundle, rate: float) -> None:
        """`rate` is in images a second for each client."""
        self.bundle, self.batcher, self.limit = bundle, Batcher(bundle), RateLimit(rate, max(LARGEST, int(rate)))

    async def seeded(
        self, request: Request, seed: int, count: int, label: str | None, finish: Callable[[Floats], T]
    ) -> T:
        """What `finish` makes of the images of `count` seeds; raises as `draw` does."""
        picked = None if label is None else np.full(count, self.bundle.label(label), np.int64)
        noise, labels = self.bundle.draw(range(seed, seed + count))
        return await self.draw(request, noise, labels if picked is None else picked, finish)

    async def draw(self, request: Request, noise: Floats, labels: Labels | None, finish: Callable[[Floats], T]) -> T:
        """What `finish` makes of the images; raises BundleError for bad input, HTTPException beyond the limits."""
        self.bundle.check(noise, labels)
        client = request.client.host if request.client else ""
        if wait := self.limit.spend(client, len(noise)):
            asked = f"{self.limit.rate:g} images a second, {self.limit.burst} at once"
            raise HTTPException(429, f"more than {asked}; try again in {wait} s", {"Retry-After": str(wait)})
        try:
            return await self.batcher.ask(noise, labels, finish)
        except BusyError:
            raise HTTPException(503, "too many images wait; try again in a second", {"Retry-After": "1"}) from None

    async def wish(self, request: Request, wish: Wish) -> list[str]:
        """The images of a request with a body, in base64; raises as `draw` does."""
        if wish.noise is None:
            noise, labels = self.bundle.draw(range(wish.seed, wish.seed + wish.count))
        else:
            noise, labels = self._own_noise(wish), None
        if wish.labels is not None:
            labels = np.array([self.bundle.label(one) for one in wish.labels], np.int64)
        return await self.draw(request, noise, labels, to_base64)

    def _own_noise(self, wish: Wish) -> Floats:
        assert wish.noise is not None
        if wish.model_fields_set & {"seed", "count"}:
            raise BundleError("give either noise, or seed and count")
        lengths = {len(row) for row in wish.noise}
        if lengths != {self.bundle.length}:
            found = " and ".join(map(str, sorted(lengths)))
            raise BundleError(f"every row of noise must hold {self.bundle.length} numbers, and there are {found}")
        with np.errstate(over="ignore"):  # what becomes infinite is refused with the other infinities
            return np.array(wish.noise, np.float64).astype(np.float32)


def create_app(bundle: Bundle, rate: float) -> FastAPI:
    """The service for one bundle; each client may ask for `rate` images a second."""
    studio = Studio(bundle, rate)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        bundle.generate(*bundle.draw([0]))  # the first one is slow
        async with studio.batcher.running():
            yield

    app = FastAPI(
        title="Imagewright images",
        version="1",
        description=f"Draws images with a {bundle.model.upper()}: an image follows from its seed and label alone.",
        lifespan=lifespan,
        docs_url=None,  # these pages would ask other hosts for their scripts; /openapi.json is there
        redoc_url=None,
    )
    app.add_middleware(BodyLimit, largest=BODY)
    app.add_exception_handler(BundleError, _say)
    app.add_exception_handler(RequestValidationError, _say_what_is_invalid)
    _add_routes(app, studio)
    return app


def _add_routes(app: FastAPI, studio: Studio) -> None:
    @app.get("/image", response_class=Response, responses=PNG | PROBLEMS, summary="One image as PNG")
    async def image(request: Request, seed: Seed = 0, label: Label = None) -> Response:
        return Response(await studio.seeded(request, seed, 1, label, to_png), media_type="image/png")

    @app.get("/grid", response_class=Response, responses=PNG | PROBLEMS, summary="Many images as one PNG")
    async def grid(
        request: Request, seed: Seed = 0, count: Count = 16, label: Label = None, columns: Columns = 8
    ) -> Response:
        sheet = await studio.seeded(request, seed, count, label, lambda images: to_png(images, columns))
        return Response(sheet, media_type="image/png")

    @app.post("/images", responses=PROBLEMS, summary="Many images, each a PNG in base64")
    async def images(request: Request, wish: Wish) -> Pictures:
        return Pictures(images=await studio.wish(request, wish))

    @app.get("/model", summary="What it draws with")
    async def model() -> Model:
        bundle = studio.bundle
        return Model(
            model=bundle.model,
            noise_length=bundle.length,
            image_shape=bundle.shape,
            labels=bundle.names if bundle.labelled else None,
            hashes=bundle.contract["hashes"],
        )

    @app.get("/health", summary="Whether it draws")
    async def health() -> Health:
        return Health(status="ok", waiting=studio.batcher.waiting)


async def _say(_: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"detail": str(error)}, 422)


async def _say_what_is_invalid(_: Request, error: Exception) -> JSONResponse:
    """The first of FastAPI's complaints as a sentence."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    where, what = ".".join(str(part) for part in first["loc"][1:]), first["msg"]
    if not where:
        return JSONResponse({"detail": NO_OBJECT}, 422)
    sentence = what.replace("Input", where, 1) if what.startswith("Input ") else f"{where}: {what}"
    return JSONResponse({"detail": sentence}, 422)


def main() -> int:
    """Serves until it is interrupted; exit code 1 with a sentence for a bad bundle."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path, help="folder with contract.json")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--rate", type=float, default=100, help="images a second that each client may ask for")
    parser.add_argument("--threads", type=int, default=0, help="that run the network; 0: all cores but one")
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
