"""The gate's record of a decision: `imagewright gate` writes it; the report, the flows and the lineage read it.

This module does not import torch, so that the flows can import it.
"""

from pathlib import Path
from typing import Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, JsonValue, ValidationError

from tasks.common.errors import UserError
from tasks.metrics.registry import describe, ordered
from tasks.reference.protocol import Protocol

GateOutcome = Literal["blessed", "refused", "overridden"]
Verdict = Literal["better", "no worse", "worse", "perhaps worse"]
Kind = Literal["ratio", "difference"]
REFUSED = 1  # the gate's exit code for a refusal; 0 means that the candidate may go live
OUTCOMES: dict[GateOutcome, str] = {
    "blessed": "blessed the candidate: it may go live",
    "refused": "refused the candidate: it may not go live",
    "overridden": "refused the candidate, but {by} overrode that: it may go live",
}
BEYOND: dict[Verdict, str] = {  # how much of the interval lies beyond the margin
    "better": "",
    "no worse": "",
    "worse": "the whole interval",
    "perhaps worse": "part of the interval",
}
CHANGES: dict[Kind, str] = {
    "ratio": "is {} to {} times that of the live model",
    "difference": "differs from that of the live model by {} to {}",
}


class Part(BaseModel):
    """Base of every part of a record: strictly typed, frozen, without unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class ComparedMetric(Part):
    """A metric of the candidate divided by that of the live model (`kind` "ratio") or minus it ("difference").

    `low` and `high` are the ends of the interval. The verdict is "better" where the whole interval lies on the better
    side of equality, "worse" where the whole interval lies beyond the margin, "perhaps worse" where part of it does.
    """

    kind: Kind
    estimate: float
    low: float
    high: float
    margin: float
    verdict: Verdict

    @property
    def fails(self) -> bool:
        """Whether the gate refuses the candidate because of this metric."""
        return BEYOND[self.verdict] != ""

    def reason(self, name: str) -> str:
        """Returns why the metric `name` speaks against the candidate, where it does."""
        change = CHANGES[self.kind].format(f"{self.low:.3g}", f"{self.high:.3g}")
        return f"regression: {name} {change}; {BEYOND[self.verdict]} lies beyond the margin of {self.margin:.3g}"


class EvaluatorMetrics(Part):
    """Metrics of a bundle's images by one evaluator, the protocol, and the kind of device that computed them."""

    metrics: dict[str, float] = Field(validation_alias=AliasChoices("metrics", "figures"))
    protocol: Protocol
    device: str


class NamedBundle(Part):
    """A bundle of which no image was evaluated, because the gate decided before."""

    bundle: str

    def __str__(self) -> str:
        return self.bundle


class EvaluatedBundle(EvaluatorMetrics):
    """A bundle whose images were evaluated; `second` is None where the second evaluator was left out."""

    bundle: str
    model: str
    sha256: str = Field(description="Of the .onnx file.")
    second: EvaluatorMetrics | None
    memorises: bool

    def __str__(self) -> str:
        return f"{self.bundle} (SHA-256 {self.sha256[:12]})"


class Override(Part):
    """The person who takes responsibility for a refused candidate, and the reason."""

    by: str
    because: str


class GateDecision(Part):
    """The decision and its reasons: the part of a record that a release's lineage quotes.

    `settings` are the section `gate` of params.yaml at that time, under its names at that time: a lineage is read for
    years.
    """

    decision: GateOutcome
    reasons: list[str]
    comparisons: dict[str, ComparedMetric]
    override: Override | None
    settings: dict[str, JsonValue] | None = None
    # The evaluator that was left out, and why. Records and lineages of earlier versions call it `not_asked`.
    skipped: str | None = Field(default=None, validation_alias=AliasChoices("skipped", "not_asked"))

    @property
    def passed(self) -> bool:
        """Whether the candidate may go live."""
        return self.decision in ("blessed", "overridden")

    @property
    def confidence(self) -> float | None:
        """Confidence level of the comparisons' intervals, where the settings have it."""
        level = (self.settings or {}).get("confidence")
        return level if isinstance(level, float) else None


class GateRecord(GateDecision):
    """The whole record; `live` is None where there was no live bundle to compare with."""

    candidate: EvaluatedBundle | NamedBundle
    live: EvaluatedBundle | NamedBundle | None

    @property
    def sentence(self) -> str:
        """What was compared, with what result, and what follows."""
        outcome = OUTCOMES[self.decision].format(by=self.override.by if self.override else "a person")
        if isinstance(self.candidate, NamedBundle):
            return f"The gate checked {self.candidate}, did not evaluate its images, and {outcome}."
        limits = "the limits of params.yaml"
        against = f"the live bundle {self.live} and {limits}" if self.live else f"{limits} alone, as no model is live"
        return f"The gate compared {self.candidate} with {against}, found {self._found()}, and {outcome}."

    def _found(self) -> str:
        titles = {name: describe(name).title for name in ordered(list(self.comparisons))}
        results = [f"{title[0].lower()}{title[1:]} {self.comparisons[name].verdict}" for name, title in titles.items()]
        broken = sum(not reason.startswith("regression:") for reason in self.reasons)
        limits = f"{broken or 'no'} limit{'s' if broken > 1 else ''} broken"
        return f"{', '.join(results)} and {limits}" if results else limits

    def quoted(self) -> GateDecision:
        """Returns the part for a lineage, which names the files itself."""
        return GateDecision.model_validate({name: getattr(self, name) for name in GateDecision.model_fields})

    def overridden(self, by: str, because: str) -> "GateRecord":
        """Returns the record with a person's override of the refusal."""
        return self.model_copy(update={"decision": "overridden", "override": Override(by=by, because=because)})


def read_record(path: Path) -> GateRecord:
    """Reads the gate's record; raises UserError when the file is missing, damaged or from another version."""
    if not path.is_file():
        raise UserError(f"{path} is missing: the gate has decided nothing; run `imagewright gate BUNDLE`")
    try:
        return GateRecord.model_validate_json(path.read_bytes())
    except ValidationError as error:
        fault = error.errors()[0]
        place = ".".join(map(str, fault["loc"])) or "the whole file"
        raise UserError(
            f"{path} is damaged, or was written by another version ({place}: {fault['msg']}); delete it and "
            "run the gate again with `imagewright gate BUNDLE`"
        ) from None
