"""Which models are trained, judged and shipped."""

from typing import Literal, get_args

Model = Literal["gan", "vae"]
MODELS: tuple[Model, ...] = get_args(Model)
