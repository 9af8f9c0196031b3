"""The service's requests and responses, as its OpenAPI schema describes them."""

from typing import Annotated

from fastapi import Query
from pydantic import BaseModel, ConfigDict, Field

LARGEST = 256  # images in one request
SEEDS = 2**63 - LARGEST - 1

Seed = Annotated[int, Query(ge=0, le=SEEDS, description="Seed; an image depends only on its seed and label.")]
Count = Annotated[int, Query(ge=1, le=LARGEST, description="Number of images; each next image has the next seed.")]
Columns = Annotated[int, Query(ge=1, le=64, description="Images per row.")]
Label = Annotated[
    str | None,
    Query(description="Label by name or number, for a conditional model; if omitted, the seed chooses one."),
]


class ImageRequest(BaseModel):
    """A request for images by seed, or by noise."""

    model_config = ConfigDict(extra="forbid")

    seed: int = Field(0, ge=0, le=SEEDS, description="Seed of the first image; each next image has the next seed.")
    count: int = Field(1, ge=1, le=LARGEST, description="Number of images.")
    noise: list[list[float]] | None = Field(
        None,
        min_length=1,
        max_length=LARGEST,
        description="Instead of seed and count: a vector of standard normal numbers for each image.",
    )
    labels: list[str | int] | None = Field(
        None, description="A label for each image, by name or number, for a conditional model."
    )


class Pictures(BaseModel):
    """Images as base64-encoded PNG files."""

    images: list[str] = Field(description="A base64-encoded PNG file for each image, in order.")


class Model(BaseModel):
    """The model of the service."""

    model: str = Field(description="gan or vae")
    noise_length: int = Field(description="Length of a noise vector.")
    image_shape: tuple[int, int, int] = Field(description="Channels, height and width.")
    labels: list[str] | None = Field(description="Names of the labels; null for an unconditional model.")
    hashes: dict[str, str] = Field(description="SHA-256 of the data, code, parameters and weights that made it.")


class Health(BaseModel):
    """The state of the service."""

    status: str = Field(description="ok")
    waiting: int = Field(description="Images that are requested and not generated yet.")


class Problem(BaseModel):
    """The error of a refused request."""

    detail: str = Field(description="One sentence: what was wrong and what to do.")
