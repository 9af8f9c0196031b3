"""What the service takes and gives, as its OpenAPI schema describes it."""

from typing import Annotated

from fastapi import Query
from pydantic import BaseModel, ConfigDict, Field

LARGEST = 256  # images in one request
SEEDS = 2**63 - LARGEST - 1

Seed = Annotated[int, Query(ge=0, le=SEEDS, description="An image follows from its seed (and label) alone.")]
Count = Annotated[int, Query(ge=1, le=LARGEST, description="Number of images; the next has the seed after it.")]
Columns = Annotated[int, Query(ge=1, le=64, description="Images beside each other.")]
Label = Annotated[
    str | None,
    Query(description="What to draw, by name or number, where the model takes a label; left away, the seed picks one."),
]


class Wish(BaseModel):
    """Images by seed, or by noise of one's own."""

    model_config = ConfigDict(extra="forbid")

    seed: int = Field(0, ge=0, le=SEEDS, description="Seed of the first image; the next has the seed after it.")
    count: int = Field(1, ge=1, le=LARGEST, description="Number of images.")
    noise: list[list[float]] | None = Field(
        None,
        min_length=1,
        max_length=LARGEST,
        description="Instead of seed and count: a row of standard normal numbers for each image.",
    )
    labels: list[str | int] | None = Field(
        None, description="A label for each image, by name or number, where the model takes labels."
    )


class Pictures(BaseModel):
    """Images as PNG files in base64."""

    images: list[str] = Field(description="One PNG file in base64 for each image, in order.")


class Model(BaseModel):
    """What the service draws with."""

    model: str = Field(description="gan or vae")
    noise_length: int = Field(description="Numbers in a row of noise.")
    image_shape: tuple[int, int, int] = Field(description="Channels, height and width.")
    labels: list[str] | None = Field(description="Names of the labels that can be asked for; null where it takes none.")
    hashes: dict[str, str] = Field(description="SHA-256 of the data, code, parameters and weights it was made of.")


class Health(BaseModel):
    """That the service draws."""

    status: str = Field(description="ok")
    waiting: int = Field(description="Images that are asked for and not drawn yet.")


class Problem(BaseModel):
    """Why there is no image."""

    detail: str = Field(description="One sentence: what was wrong and what to do.")
