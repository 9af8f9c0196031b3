"""The gate's record of a decision: `python -m tasks.gate` writes it, and report, flows and lineage read it.

Torch is not imported, so that the flows may use it.
"""

from pathlib import Path
from typing import Literal, assert_never

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from tasks.common.errors import UserError
from tasks.reference.protocol import Protocol

Word = Literal["blessed", "refused", "overridden"]
Verdict = Literal["better", "no worse", "worse", "perhaps worse"]
Kind = Literal["ratio", "difference"]
REFUSED = 1  # the gate's exit code; 0 where the candidate may go live


class Part(BaseModel):
    """Base of every part of a record: typed, unchangeable, and without unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class ComparedMetric(Part):
    """A figure of the candidate over the live model's, or less it: estimate, interval, margin and what follows."""

    kind: Kind
    estimate: float
    low: float
    high: float
    margin: float
    verdict: Verdict

    @property
    def bad(self) -> bool:
        """Whether it speaks against the candidate."""
        match self.verdict:
            case "worse" | "perhaps worse":
                return True
            case "better" | "no worse":
                return False
            case _:
                assert_never(self.verdict)


class EvaluatorView(Part):
    """What one judge measured of a bundle's images, by which protocol, and on which kind of device."""

    figures: dict[str, float]
    protocol: Protocol
    device: str


class NamedBundle(Part):
    """A bundle that was not judged, since the decision was taken before."""

    bundle: str


class EvaluatedBundle(EvaluatorView):
    """A bundle whose images were judged; `second` is None where the second judge was not asked."""

    bundle: str
    model: str
    sha256: str = Field(description="Of the .onnx file.")
    second: EvaluatorView | None
    memorises: bool


class Override(Part):
    """Who took the responsibility for a refused candidate, and why."""

    by: str
    because: str


class GateDecision(Part):
    """What was decided and why: the part of a record that a release's lineage quotes.

    `settings` are those of params.yaml at that time, under whatever names they had: a lineage is read for years.
    """

    decision: Word
    reasons: list[str]
    comparisons: dict[str, ComparedMetric]
    override: Override | None
    settings: dict[str, JsonValue] | None = None
    not_asked: str | None = None

    @property
    def passed(self) -> bool:
        """Whether the candidate may take the live one's place."""
        match self.decision:
            case "blessed" | "overridden":
                return True
            case "refused":
                return False
            case _:
                assert_never(self.decision)

    @property
    def confidence(self) -> float | None:
        """Of the comparisons' intervals, where the settings have it."""
        found = (self.settings or {}).get("confidence")
        return found if isinstance(found, float) else None


class GateRecord(GateDecision):
    """The whole record; `live` is None where there was no live bundle to compare with."""

    candidate: EvaluatedBundle | NamedBundle
    live: EvaluatedBundle | NamedBundle | None

    def quoted(self) -> GateDecision:
        """The part for a lineage, which names the files itself."""
        return GateDecision.model_validate({name: getattr(self, name) for name in GateDecision.model_fields})

    def overridden(self, by: str, because: str) -> "GateRecord":
        """The same with a person's word against the refusal."""
        return self.model_copy(update={"decision": "overridden", "override": Override(by=by, because=because)})


def read_record(path: Path) -> GateRecord:
    """The record that the gate wrote to `path`; raises UserError when it is missing, damaged or of another form."""
    if not path.is_file():
        raise UserError(f"{path} is missing: the gate left no decision; ask it with `python -m tasks.gate BUNDLE`")
    try:
        return GateRecord.model_validate_json(path.read_bytes())
    except ValidationError as error:
        fault = error.errors()[0]
        place = ".".join(map(str, fault["loc"])) or "the whole"
        raise UserError(
            f"{path} is damaged, or was written by another version ({place}: {fault['msg']}); delete it and "
            "ask the gate again with `python -m tasks.gate BUNDLE`"
        ) from None
