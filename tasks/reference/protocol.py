"""What two figures must share to be compared, and where the judges that make them lie; without torch's slow import."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from tasks.common.errors import UserError

REFERENCE, SECOND = Path("data/reference"), Path("data/reference_second")


class Protocol(BaseModel):
    """All that two figures must share to be compared; `weights` and `reference` are SHA-256 of content.

    The device is none of it: a GPU looks in float32 without TF32 and computes in float64, as a CPU does, so that
    figures agree to about 1e-4 of themselves, far less than their intervals.
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
        """Raises UserError that names what differs, if anything does."""
        ours, theirs = self.model_dump(), other.model_dump()
        unlike = [f"{name} {ours[name]} and {theirs[name]}" for name in ours if ours[name] != theirs[name]]
        if unlike:
            raise UserError(f"figures of different protocols cannot be compared: {', '.join(unlike)}; judge both anew")
