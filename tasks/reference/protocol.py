"""The protocol of an evaluation, and the folders of the two evaluators; importing this does not import torch."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from tasks.common.errors import UserError

REFERENCE, SECOND = Path("data/reference"), Path("data/reference_second")


class Protocol(BaseModel):
    """What two evaluations must have in common for a comparison; `weights` and `reference` are SHA-256 of content.

    The device is not part of it: a GPU extracts features in float32 without TF32 and computes in float64, so that its
    metrics agree with those of a CPU to a relative 1e-4, far less than their intervals.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    network: str
    weights: str
    resizer: str
    reference: str
    n_images: int
    n_test: int
    n_neighbour_scores: int
    neighbours: int
    subsets: int
    subset_size: int
    seed: int

    def require(self, other: "Protocol") -> None:
        """Raises UserError with every difference from `other`, if there is one."""
        theirs = other.model_dump()
        if unlike := ", ".join(f"{name} {ours} and {theirs[name]}" for name, ours in self if ours != theirs[name]):
            raise UserError(f"metrics of different protocols cannot be compared: {unlike}; evaluate both again")
